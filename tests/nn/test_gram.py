import numpy as np
import pytest
from scipy import sparse

from recloop.nn.gram import blocks_of, clear_diagonal, gram_blocks, product_blocks


@pytest.mark.parametrize(("block_bytes", "starts"), [(1 << 20, [0]), (2 * 3 * 4, [0, 2]), (1, [0, 1, 2])])
def test_blocks_make_up_the_gram_matrix(block_bytes: int, starts: list[int]) -> None:
    matrix = sparse.csr_matrix(np.array([[1, 0, 2], [0, 3, 1]], dtype=np.float32))
    blocks = list(gram_blocks(matrix, block_bytes))
    assert [start for start, _ in blocks] == starts
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), [[1, 0, 2], [0, 9, 3], [2, 3, 5]])


@pytest.mark.parametrize(("block_entries", "starts"), [(9, [0]), (6, [0, 2]), (1, [0, 1, 2])])
def test_sparse_blocks_make_it_up_too(block_entries: int, starts: list[int]) -> None:
    matrix = sparse.csr_matrix(np.array([[1, 0, 2], [0, 3, 1]], dtype=np.float32))
    blocks = list(product_blocks(matrix.T.tocsr(), matrix, block_entries))
    assert [start for start, _ in blocks] == starts
    whole = sparse.vstack([block for _, block in blocks]).toarray()
    np.testing.assert_array_equal(whole, [[1, 0, 2], [0, 9, 3], [2, 3, 5]])
    for start, block in blocks:
        clear_diagonal(block, start)
    whole = sparse.vstack([block for _, block in blocks]).toarray()
    np.testing.assert_array_equal(whole, [[0, 0, 2], [0, 0, 3], [2, 3, 0]])


def test_blocks_are_as_large_as_allowed_and_leave_nothing_out() -> None:
    assert list(blocks_of(np.array([2, 2, 0, 9, 1, 0, 3]), 4)) == [(0, 3), (3, 4), (4, 7)]
    assert list(blocks_of(np.array([0, 0]), 4)) == [(0, 2)]
    assert list(blocks_of(np.zeros(0), 4)) == []
