import numpy as np
import pytest
import torch
from scipy import sparse

from recloop.nn.ridge import UnsolvableError, chunks, conjugate_gradients, solve

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


def test_as_many_conjugate_gradients_as_dimensions_are_exact() -> None:
    start = torch.ones(3, 4, dtype=torch.float64)
    solved, residual = conjugate_gradients(multiply, TARGETS, start, 4)
    torch.testing.assert_close(solved, torch.linalg.solve(SYSTEMS, TARGETS))
    assert residual.abs().max() < 1e-8
    assert (start == 1).all()


def test_fewer_steps_come_nearer_and_the_residual_is_what_is_left() -> None:
    start = torch.zeros(3, 4, dtype=torch.float64)
    far = []
    for steps in (1, 2):
        solved, residual = conjugate_gradients(multiply, TARGETS, start, steps)
        torch.testing.assert_close(residual, TARGETS - multiply(solved))
        error = solved - torch.linalg.solve(SYSTEMS, TARGETS)
        far.append((error * multiply(error)).sum().item())
    assert far[1] < far[0]


def test_a_row_that_is_solved_stays_as_it_is() -> None:
    wanted = torch.linalg.solve(SYSTEMS, TARGETS)
    solved, _ = conjugate_gradients(multiply, torch.zeros_like(TARGETS), torch.zeros_like(TARGETS), 3)
    assert (solved == 0).all()
    again, _ = conjugate_gradients(multiply, TARGETS, wanted, 3)
    torch.testing.assert_close(again, wanted)
