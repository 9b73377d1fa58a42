import numpy as np
import pytest
import torch
from scipy import sparse

from recloop.nn.ridge import UnsolvableError, chunks, conjugate_gradients, solve, solve_near_diagonal

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(4).normal(size=(3, 4, 4))
SYSTEMS = torch.from_numpy(RANDOM @ RANDOM.transpose(0, 2, 1) + np.eye(4))
TARGETS = torch.arange(12.0, dtype=torch.float64).view(3, 4) - 5


def multiply(vectors: torch.Tensor) -> torch.Tensor:
    return (SYSTEMS @ vectors[:, :, None])[:, :, 0]


def test_chunks_hold_each_row_with_entries_once_and_stay_small() -> None:
    dense = np.zeros((5, 6), dtype=np.float32)
    dense[0, [0, 1, 3]] = 1, 2, 3
    dense[2, [1, 2]] = 1, 5
    dense[3, [0, 2, 3, 4]] = 1, 6, 1, 1
    dense[4, 4] = 9
    found = list(chunks(sparse.csr_matrix(dense), CPU, size=6))
    assert [chunk.rows.tolist() for chunk in found] == [[4, 2], [0], [3]]
    assert found[0].columns.tolist() == [[4, 6], [1, 2]]
    assert found[0].values.tolist() == [[9, 0], [1, 5]]
    assert found[0].lengths.tolist() == [1, 2]
    assert [chunk.columns.shape for chunk in found] == [(2, 2), (1, 3), (1, 4)]


def test_a_row_larger_than_a_chunk_is_a_chunk_of_its_own() -> None:
    found = list(chunks(sparse.csr_matrix(np.ones((2, 5), dtype=np.float32)), CPU, size=3))
    assert [chunk.rows.tolist() for chunk in found] == [[0], [1]]


def test_solutions_and_what_they_gain() -> None:
    solved, gains = solve(SYSTEMS, TARGETS)
    wanted = torch.linalg.solve(SYSTEMS, TARGETS)
    torch.testing.assert_close(solved, wanted)
    torch.testing.assert_close(gains, (wanted * TARGETS).sum(dim=1))


def test_a_system_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(UnsolvableError):
        solve(-SYSTEMS, TARGETS)


def curvature(vectors: torch.Tensor) -> torch.Tensor:
    return (vectors * multiply(vectors)).sum(dim=1, keepdim=True)


def gradients(targets: torch.Tensor, start: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    return conjugate_gradients(start, targets - multiply(start), multiply, curvature, steps)


def explained(solved: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (2 * solved * targets - solved * multiply(solved)).sum(dim=1)


def test_as_many_conjugate_gradients_as_dimensions_are_exact() -> None:
    start = torch.ones(3, 4, dtype=torch.float64)
    solved, _ = gradients(TARGETS, start, 4)
    torch.testing.assert_close(solved, torch.linalg.solve(SYSTEMS, TARGETS))
    assert (start == 1).all()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_what_the_steps_gain_is_told(steps: int) -> None:
    start = torch.full((3, 4), 0.5, dtype=torch.float64)
    solved, gained = gradients(TARGETS, start, steps)
    torch.testing.assert_close(gained, explained(solved, TARGETS) - explained(start, TARGETS))


def test_more_steps_come_nearer() -> None:
    start = torch.zeros(3, 4, dtype=torch.float64)
    reached = [explained(gradients(TARGETS, start, steps)[0], TARGETS).sum().item() for steps in (1, 2, 3)]
    assert reached[0] < reached[1] < reached[2]


def test_a_row_that_is_solved_stays_as_it_is() -> None:
    wanted = torch.linalg.solve(SYSTEMS, TARGETS)
    solved, gained = gradients(torch.zeros_like(TARGETS), torch.zeros_like(TARGETS), 3)
    assert (solved == 0).all()
    assert (gained == 0).all()
    again, _ = gradients(TARGETS, wanted, 3)
    torch.testing.assert_close(again, wanted)


def test_near_diagonal_systems_are_solved_as_by_hand() -> None:
    generator = torch.Generator().manual_seed(3)
    diagonal = torch.rand(5, 7, generator=generator) + 0.5
    factors = torch.randn(5, 2, 7, generator=generator)
    targets = torch.randn(5, 7, generator=generator)
    targets[3] = 0
    systems = torch.diag_embed(diagonal) + factors.mT @ factors

    def rest(vectors: torch.Tensor) -> torch.Tensor:
        return ((factors @ vectors[:, :, None]).mT @ factors)[:, 0]

    found, solved = solve_near_diagonal(diagonal, targets, rest, tolerance=1e-7, steps=20)
    assert solved.tolist() == [True] * 5
    assert found[3].tolist() == [0] * 7
    torch.testing.assert_close(found, torch.linalg.solve(systems, targets), rtol=1e-5, atol=1e-6)
    cut, solved = solve_near_diagonal(diagonal, targets, rest, tolerance=1e-7, steps=1)
    assert solved.tolist() == [False, False, False, True, False]
    assert not torch.allclose(cut, found, rtol=1e-3)
