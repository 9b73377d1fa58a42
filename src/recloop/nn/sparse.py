"""Sums and products over the entries of a sparse matrix, without writing down a vector for each entry.

Shapes: R rows, C columns, N entries, D dimensions.
"""

import warnings
from typing import cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


class Entries:
    """The N entries of a sparse matrix (R, C), in the order of its rows, on a device.

    Args:
        matrix: without duplicates; entries of value 0 count as entries.
        device: where to compute.

    Attributes:
        columns: int64 (N,).
        values: float32 (N,).
        lengths: float32 (R,), entries a row.
    """

    def __init__(self, matrix: sparse.csr_matrix, device: torch.device) -> None:
        self._offsets = torch.from_numpy(matrix.indptr.astype(np.int64)).to(device)
        self.columns = torch.from_numpy(matrix.indices.astype(np.int64)).to(device)
        self.values = torch.from_numpy(matrix.data.astype(np.float32)).to(device)
        self.lengths = self._offsets.diff().float()
        self._shape = cast("tuple[int, int]", matrix.shape)

    def __len__(self) -> int:
        return len(self.columns)

    def sums(self, vectors: Tensor, weights: Tensor | None = None) -> Tensor:
        """For each row, the sum of `vectors` (C, D) over its columns, times `weights` (N,) if given; (R, D)."""
        if not len(self):
            return vectors.new_zeros(self._shape[0], vectors.shape[1])
        return torch.nn.functional.embedding_bag(
            self.columns, vectors, self._offsets, mode="sum", include_last_offset=True, per_sample_weights=weights
        )

    def row_sums(self, values: Tensor) -> Tensor:
        """For each row, the sum of its entries' `values` (N,), (R,)."""
        return torch.segment_reduce(values, "sum", offsets=self._offsets, initial=0)

    def dots(self, left: Tensor, right: Tensor) -> Tensor:
        """The inner product of the row's vector in `left` (R, D) and the column's in `right` (C, D), (N,)."""
        if not len(self):
            return left.new_zeros(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Ss]parse")
            pattern = torch.sparse_csr_tensor(
                self._offsets, self.columns, left.new_zeros(len(self)), self._shape, check_invariants=False
            )
            return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()
