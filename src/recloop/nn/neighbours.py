"""What nearest neighbours share: weights of sparse entries, and the best entries of a matrix, a block at a time.

Manning, Raghavan and Schuetze, "Introduction to information retrieval", 2008, chapters 6 and 11, for TF-IDF and BM25.
Shapes: R rows and C columns of a sparse matrix, M entries, N groups of them, K kept a row, b rows of a block.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from recloop.errors import ModelError

Similarity = Literal["cosine", "adjusted_cosine", "pearson"]
Weighting = Literal["none", "tfidf", "bm25"]

_SATURATION, _LENGTH = 1.2, 0.75
_LAST = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Who took what, each pair once, in the order of compressed rows.

    Attributes:
        matrix: float32 (R, C), 1 for each pair.
        counts: float32 (M,), events of each pair.
        ratings: float32 (M,), their mean value.
    """

    matrix: sparse.csr_matrix
    counts: NDArray[np.float32]
    ratings: NDArray[np.float32]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each pair, int64 (M,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def lengths(self) -> NDArray[Any]:
        """Pairs of each row, (R,)."""
        return np.diff(self.matrix.indptr)

    @classmethod
    def of(
        cls, offsets: NDArray[np.int64], items: NDArray[np.int64], values: NDArray[np.float32], columns: int
    ) -> Self:
        """The pairs of events in compressed rows."""
        shape = len(offsets) - 1, columns
        sums, counts = (
            sparse.csr_matrix((data, items, offsets), shape=shape, copy=True) for data in (values, np.ones_like(values))
        )
        sums.sum_duplicates()
        counts.sum_duplicates()
        ones = np.ones(counts.nnz, dtype=np.float32)
        return cls(
            matrix=sparse.csr_matrix((ones, counts.indices, counts.indptr), shape=shape),
            counts=np.asarray(counts.data, dtype=np.float32),
            ratings=np.asarray(sums.data, dtype=np.float32) / np.asarray(counts.data, dtype=np.float32),
        )


def check_ratings(model: str, similarity: Similarity, values: NDArray[np.float32]) -> None:
    """Refuse `values` that do not differ where the likeness is one of ratings.

    Raises:
        ModelError: as said.
    """
    if similarity != "cosine" and len(values) and (values == values[0]).all():
        raise ModelError(
            f"{model} with similarity {similarity} needs ratings, but all values are {values[0]:g}; give real values "
            "or set its similarity to cosine."
        )


def rarity(frequencies: NDArray[Any], total: int) -> NDArray[np.float32]:
    """``log(1 + total / n)`` for terms that occur n times, float32 (N,): rare ones tell more; none counts as one."""
    return np.log1p(total / np.maximum(frequencies, 1)).astype(np.float32)


def saturated(counts: NDArray[Any], lengths: NDArray[Any], typical: float) -> NDArray[np.float32]:
    """BM25's weight of a term that occurs `counts` times in documents of these `lengths`, float32 (M,).

    ``2.2 c / (c + 1.2 (0.25 + 0.75 length / typical))``: repeats count less and less, and less in a long document.
    """
    relative = 1 - _LENGTH + _LENGTH * lengths / max(typical, 1e-9)
    return ((_SATURATION + 1) * counts / (counts + _SATURATION * relative)).astype(np.float32)


def means(values: NDArray[np.float32], groups: NDArray[Any], n: int) -> NDArray[np.float32]:
    """Mean of the `values` (M,) of each of the n groups, float32 (N,); of all for an empty group, or 0."""
    counts = np.bincount(groups, minlength=n)
    overall = values.mean(dtype=np.float64) if len(values) else 0.0
    sums = np.bincount(groups, weights=values, minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall).astype(np.float32)


def norms(matrix: sparse.csr_matrix, axis: int) -> NDArray[np.float32]:
    """Euclidean length of the columns (axis 0) or rows (axis 1), summed in float64."""
    squares = np.asarray(matrix.multiply(matrix).sum(axis=axis, dtype=np.float64))
    return np.sqrt(squares).ravel().astype(np.float32)


def divide_by_lengths(
    block: sparse.csr_matrix, rows: NDArray[np.float32], columns: NDArray[np.float32], shrink: float
) -> None:
    """Make inner products cosines: divide each by the lengths of its row (b,) and column (C,), times, plus `shrink`."""
    denominators = np.repeat(rows, np.diff(block.indptr)) * columns[block.indices] + shrink
    block.data /= np.maximum(denominators, np.finfo(np.float32).tiny)


def nearest(blocks: Iterable[sparse.csr_matrix], kept: int, columns: int) -> sparse.csr_matrix:
    """The `kept` largest entries of each row that are above 0, best first, as float32 (R, C).

    Of equal entries the one in the lower column comes first.

    Args:
        blocks: rows of the matrix in order, sparse (b, C).
        kept: K; all where a row has fewer.
        columns: C.
    """
    largest = [_largest(block, kept) for block in blocks]
    return sparse.csr_matrix(sparse.vstack([sparse.csr_matrix((0, columns), dtype=np.float32), *largest]))


def _largest(block: sparse.csr_matrix, kept: int) -> sparse.csr_matrix:
    """`nearest` of one block: rows of similar length are padded to one length and go together.

    A value above 0 and its column make one whole number: the bits of the value, which order as it does, then the
    column, counted down.
    """
    above = block.data > 0
    ends = np.concatenate([[0], np.cumsum(above)])
    lengths = np.diff(ends[block.indptr])
    bits = block.data[above].astype(np.float32, copy=False).view(np.int32).astype(np.int64)
    keys = (bits << 32) + (_LAST - block.indices[above])
    starts = np.cumsum(lengths) - lengths
    counts = np.minimum(lengths, kept)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    found = np.empty(offsets[-1], dtype=np.int64)
    doublings = np.where(counts > 0, np.frexp(lengths)[1], 0)
    for doubling in range(1, doublings.max(initial=0) + 1):
        rows = np.flatnonzero(doublings == doubling)
        width = np.arange(lengths[rows].max(initial=0))
        padded = np.zeros((len(rows), len(width)), dtype=np.int64)
        present = width < lengths[rows, None]
        padded[present] = keys[(starts[rows, None] + width)[present]]
        best = torch.from_numpy(padded).topk(min(kept, len(width)), dim=1).values.numpy()
        place = np.arange(best.shape[1])
        wanted = place < counts[rows, None]
        found[(offsets[rows, None] + place)[wanted]] = best[wanted]
    values, columns = (found >> 32).astype(np.int32).view(np.float32), _LAST - (found & _LAST)
    return sparse.csr_matrix((values, columns, offsets), shape=block.shape)


def terms(history: sparse.csr_matrix, weights: sparse.csr_matrix, items: Sequence[int]) -> Tensor:
    """The terms of the sums ``history @ weights`` at some columns, float32 (J, K).

    Args:
        history: (1, R), of J entries, one a row of `weights`, whatever their values.
        weights: (R, C).
        items: K columns.
    """
    rows = weights[history.indices][:, np.asarray(items, dtype=np.int64)].toarray()
    return torch.from_numpy(rows * history.data[:, None])


def pack(matrix: sparse.csr_matrix, values: str = "weights") -> dict[str, Tensor]:
    """The matrix as tensors ``offsets`` (R + 1,), ``neighbors`` (M,) and `values` (M,)."""
    return {
        "offsets": torch.from_numpy(matrix.indptr).long(),
        "neighbors": torch.from_numpy(matrix.indices).long(),
        values: torch.from_numpy(matrix.data),
    }


def unpack(offsets: Tensor, neighbors: Tensor, values: Tensor, columns: int) -> sparse.csr_matrix:
    """What `pack` was given."""
    parts = tuple(part.cpu().numpy() for part in (values, neighbors, offsets))
    return sparse.csr_matrix(parts, shape=(len(offsets) - 1, columns))
