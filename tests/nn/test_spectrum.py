import numpy as np
from scipy import sparse

from recloop.nn.spectrum import preferences

MATRIX = np.array([[1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0], [1, 1, 0, 1, 1, 0]], dtype=np.float32)


def random() -> np.random.Generator:
    return np.random.default_rng(4)


def low_pass(factors: int) -> np.ndarray:
    """The ideal low-pass filter of GF-CF, dense: ``D_u^-1/2 X D_i^-1/2 V V' D_i^1/2``."""
    taken, lengths = MATRIX.sum(axis=0), MATRIX.sum(axis=1)
    down = np.where(taken > 0, np.maximum(taken, 1) ** -0.5, 0)
    normed = MATRIX / np.sqrt(lengths)[:, None] * down
    vectors = np.linalg.svd(normed)[2][:factors].T
    return normed @ vectors @ vectors.T * np.sqrt(taken)


def test_scores_are_those_of_the_ideal_low_pass_filter() -> None:
    for factors in (1, 2, 3):
        given, wanted = preferences(sparse.csr_matrix(MATRIX), factors, random())
        assert given.shape == wanted.shape == (6, factors)
        assert given.dtype == wanted.dtype == np.float32
        people = MATRIX @ given / np.sqrt(MATRIX.sum(axis=1))[:, None]
        np.testing.assert_allclose(people @ wanted.T, low_pass(factors), rtol=1e-4, atol=1e-6)


def test_items_that_nobody_took_and_factors_too_many_are_zeros() -> None:
    given, wanted = preferences(sparse.csr_matrix(MATRIX), 9, random())
    assert not given[2].any()
    assert not wanted[2].any()
    assert not given[:, 4:].any()
    np.testing.assert_allclose(
        MATRIX @ given / np.sqrt(MATRIX.sum(axis=1))[:, None] @ wanted.T, low_pass(4), rtol=1e-4, atol=1e-6
    )


def test_the_generator_decides() -> None:
    matrix = sparse.csr_matrix(MATRIX)
    assert np.array_equal(preferences(matrix, 2, random())[0], preferences(matrix, 2, random())[0])


def test_nobody_gives_zeros() -> None:
    given, wanted = preferences(sparse.csr_matrix((0, 3), dtype=np.float32), 2, random())
    assert given.tolist() == wanted.tolist() == [[0, 0]] * 3
