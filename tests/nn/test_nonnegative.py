from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from torch import Tensor

from recloop.nn import nonnegative
from recloop.nn.nonnegative import solve


def problem(rows: int, dim: int, seed: int, *, ridge: float = 0.1) -> tuple[Tensor, Tensor]:
    """``A`` (R, D, D) and ``b`` (R, D); of the exact solutions about half the parts are 0."""
    random = np.random.default_rng(seed)
    features = random.random((rows, dim + 2, dim))
    systems = features.transpose(0, 2, 1) @ features + ridge * np.eye(dim)
    return torch.from_numpy(systems), torch.from_numpy(random.normal(size=(rows, dim)) + 0.3)


def expected(system: Tensor, target: Tensor) -> Tensor:
    """The method of Lawson and Hanson on ``|L' z - L^-1 b|`` for ``A = L L'``."""
    factor = np.linalg.cholesky(system.numpy())
    return torch.from_numpy(nnls(factor.T, np.linalg.solve(factor, target.numpy()))[0])


def test_by_hand() -> None:
    system = torch.tensor([[2.0, 1.0], [1.0, 4.0]], dtype=torch.float64)
    targets = torch.tensor([[4.0, 9.0], [4.0, 1.0], [-1.0, 8.0], [-1.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
    found = solve(system, targets)
    wanted = torch.tensor([[1.0, 2.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(found == 0, wanted == 0)


@given(rows=st.integers(1, 7), dim=st.integers(1, 9), seed=st.integers(0, 1000))
def test_it_agrees_with_lawson_and_hanson(rows: int, dim: int, seed: int) -> None:
    systems, targets = problem(rows, dim, seed)
    each = solve(systems, targets)
    shared = solve(systems[0], targets)
    for row in range(rows):
        torch.testing.assert_close(each[row], expected(systems[row], targets[row]), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(shared[row], expected(systems[0], targets[row]), rtol=1e-8, atol=1e-8)


def test_a_row_does_not_depend_on_the_rows_that_are_solved_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    systems, targets = problem(13, 6, seed=3)
    together = solve(systems, targets), solve(systems[0], targets)
    monkeypatch.setattr(nonnegative, "_MEMORY", 4 * 6 * 6)
    torch.testing.assert_close((solve(systems, targets), solve(systems[0], targets)), together)


def test_no_rows() -> None:
    systems, targets = problem(2, 3, seed=0)
    assert solve(systems[:0], targets[:0]).shape == (0, 3)
    assert solve(systems[0], targets[:0]).shape == (0, 3)


def test_scales_do_not_matter() -> None:
    systems, targets = problem(5, 4, seed=1)
    scales = torch.tensor([1e-3, 1.0, 30.0, 1e3], dtype=torch.float64)
    found = solve(systems * scales[:, None] * scales, targets * scales) * scales
    torch.testing.assert_close(found, solve(systems, targets), rtol=1e-5, atol=1e-5)


def test_of_equal_factors_each_solution_is_as_good_and_none_is_refused() -> None:
    once = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    features, targets = torch.cat([once, once], dim=1), torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    found = solve(features.T @ features, (targets @ features)[None])
    assert (found >= 0).all()
    torch.testing.assert_close(found @ features.T, targets[None])


@pytest.mark.parametrize(
    ("features", "target", "positive"),
    [
        ([[2, -3], [-2, -1], [3, 0], [2, -1]], [-4, -5, 5, 1], [0, 0, 1, 1]),
        ([[1, 2], [0, 3], [2, -1], [3, 1], [-3, -3]], [5, 4, 3, -5, -2], [1, 1, 1, 1, 1]),
        (
            [[-2, -2, -3], [1, 0, -1], [2, 1, -3], [-2, -2, 0], [-3, -2, 2], [0, -3, -3]],
            [4, -4, 4, 4, -1, -2],
            [0, 1, 1, 0, 1, 1],
        ),
    ],
)
def test_a_circle_of_exchanges_is_left(features: list[list[int]], target: list[int], positive: list[int]) -> None:
    """For these, exchanging all wrong parts at once never ends."""
    known = torch.tensor(features, dtype=torch.float64)
    system, wanted = known @ known.T + 0.05 * torch.eye(len(known)), torch.tensor(target, dtype=torch.float64)
    found = nonnegative._pivot(system, wanted[None], torch.tensor([positive]) == 1)
    torch.testing.assert_close(found[0], expected(system, wanted))


@pytest.mark.parametrize("guess", [torch.zeros, torch.ones])
def test_any_guess_leads_to_the_solution(guess: Callable[..., Tensor]) -> None:
    systems, targets = problem(40, 12, seed=5)
    found = nonnegative._pivot(systems, targets, guess(40, 12, dtype=torch.bool))
    torch.testing.assert_close(found, torch.stack([expected(*row) for row in zip(systems, targets, strict=True)]))


def test_without_turns_enough_the_answer_is_still_not_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonnegative, "_PIVOTS", 1)
    systems, targets = problem(30, 12, seed=5)
    assert (nonnegative._pivot(systems, targets, torch.ones(30, 12, dtype=torch.bool)) >= 0).all()
