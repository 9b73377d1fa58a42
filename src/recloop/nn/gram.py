"""Products of a sparse matrix with itself, a block of rows at a time.

Shapes: U users, I items, b items of a block.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BLOCK_BYTES = 1 << 26


def gram_blocks(
    matrix: sparse.csr_matrix, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, NDArray[np.floating[Any]]]]:
    """Rows of ``matrix.T @ matrix`` for a sparse ``matrix`` (U, I), as dense blocks of at most `block_bytes`.

    Yields:
        The index of a block's first row, and the block (b, I) in the type of the matrix; the blocks cover all I rows.
    """
    transposed = matrix.T.tocsr()
    n_items = transposed.shape[0]
    rows = max(1, block_bytes // max(1, n_items * matrix.dtype.itemsize))
    for start in range(0, n_items, rows):
        yield start, (transposed[start : start + rows] @ matrix).toarray()
