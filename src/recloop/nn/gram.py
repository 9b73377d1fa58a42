"""Products of sparse matrices, a block of rows at a time.

Shapes: U users, I items, b items of a block.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BLOCK_BYTES = 1 << 26
BLOCK_ENTRIES = 1 << 22


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


def product_blocks(
    left: sparse.csr_matrix, right: sparse.csr_matrix, block_entries: int = BLOCK_ENTRIES
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Rows of ``left @ right``, as sparse blocks of at most `block_entries`, or of one row.

    Time and memory grow with the entries that are multiplied, not with rows times columns.

    Yields:
        The index of a block's first row, and the block; the blocks cover all rows.
    """
    _, columns = cast("tuple[int, int]", right.shape)
    each = sparse.csr_matrix((np.ones(left.nnz), left.indices, left.indptr), shape=left.shape)
    met = each @ np.diff(right.indptr)
    for start, stop in blocks_of(np.minimum(met, columns), block_entries):
        yield start, sparse.csr_matrix(left[start:stop] @ right)


def blocks_of(sizes: NDArray[Any], most: int) -> Iterator[tuple[int, int]]:
    """Bounds of consecutive blocks of rows of these `sizes` that cover all rows and add up to `most`, or of one row."""
    ends = np.cumsum(sizes)
    start, before = 0, 0.0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield start, stop
        start, before = stop, float(ends[stop - 1])


def clear_diagonal(block: sparse.csr_matrix, start: int) -> None:
    """Set what each row of a block holds of itself to 0; its first row is row `start` of the whole."""
    own = start + np.repeat(np.arange(len(block.indptr) - 1), np.diff(block.indptr))
    block.data[block.indices == own] = 0
