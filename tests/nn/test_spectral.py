import torch

from recloop.nn.spectral import leading_eigenvectors


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_a_diagonal_matrix_by_hand() -> None:
    found = leading_eigenvectors(torch.diag(torch.tensor([1.0, 4, 0, 9])), 2, generator())
    torch.testing.assert_close(found.abs(), torch.tensor([[0.0, 0], [0, 1], [0, 0], [1, 0]]), atol=1e-5, rtol=0)


def test_directions_without_variance_are_left_out() -> None:
    rows = torch.tensor([[1.0, 2, 0], [0, 1, 3]])
    assert leading_eigenvectors(rows.T @ rows, 3, generator()).shape == (3, 2)
    assert leading_eigenvectors(torch.zeros(3, 3), 2, generator()).shape == (3, 0)


def test_a_part_of_the_spectrum_is_close_to_exact() -> None:
    rows = torch.randn(300, 120, generator=generator()) * torch.linspace(2, 0.1, 120)
    matrix = rows.T @ rows
    found = leading_eigenvectors(matrix, 10, generator())
    exact = torch.linalg.eigh(matrix).eigenvectors[:, -10:]
    assert torch.linalg.matrix_norm(found @ found.T - exact @ exact.T, ord=2) < 0.01
    torch.testing.assert_close(found.T @ found, torch.eye(10), atol=1e-5, rtol=0)


def test_the_generator_decides_and_global_randomness_is_left_alone() -> None:
    matrix, state = torch.diag(torch.arange(60.0)), torch.get_rng_state()
    assert torch.equal(leading_eigenvectors(matrix, 3, generator()), leading_eigenvectors(matrix, 3, generator()))
    assert torch.equal(torch.get_rng_state(), state)
