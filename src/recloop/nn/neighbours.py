"""What nearest neighbours share: weights of sparse entries, and the best entries of a matrix, a block at a time.

Manning, Raghavan and Schuetze, "Introduction to information retrieval", 2008, chapters 6 and 11, for TF-IDF and BM25.
Shapes: R rows and C columns of a sparse matrix, M entries, N groups of them, K kept a row, b rows of a block.
"""

from collections.abc import Iterable
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


def nearest(blocks: Iterable[Tensor], kept: int, columns: int) -> sparse.csr_matrix:
    """The `kept` largest entries of each row that are above 0, best first, as float32 (R, C).

    Args:
        blocks: rows of the matrix in order, dense (b, C).
        kept: K; all where a row has fewer.
        columns: C.
    """
    kept = min(kept, columns)
    items, values, counts = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0)], [torch.zeros(0, dtype=torch.int64)]
    for block in blocks:
        best, places = block.topk(kept, dim=1)
        positive = best > 0
        items.append(places[positive].cpu())
        values.append(best[positive].cpu())
        counts.append(positive.sum(dim=1).cpu())
    offsets = np.concatenate([[0], torch.cat(counts).cumsum(0).numpy()])
    parts = torch.cat(values).numpy(), torch.cat(items).numpy(), offsets
    return sparse.csr_matrix(parts, shape=(len(offsets) - 1, columns))


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
