import numpy as np
import pytest
from scipy import sparse

from recloop.nn.gram import gram_blocks


@pytest.mark.parametrize(("block_bytes", "starts"), [(1 << 20, [0]), (2 * 3 * 4, [0, 2]), (1, [0, 1, 2])])
def test_blocks_make_up_the_gram_matrix(block_bytes: int, starts: list[int]) -> None:
    matrix = sparse.csr_matrix(np.array([[1, 0, 2], [0, 3, 1]], dtype=np.float32))
    blocks = list(gram_blocks(matrix, block_bytes))
    assert [start for start, _ in blocks] == starts
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), [[1, 0, 2], [0, 9, 3], [2, 3, 5]])
