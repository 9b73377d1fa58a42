"""People as the sum of what they took, so that nobody is a stranger.

Kabbur, Ning and Karypis, "FISM: factored item similarity models for top-N recommender systems", KDD 2013: a person
has no vector to learn; it is made of vectors of the items in the history, and in training without the item that is to
be predicted.
Shapes: B people, I items, D dimensions, N events of all B histories.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from typing_extensions import override


@dataclass(frozen=True, kw_only=True)
class Bags:
    """The histories of B people as sets of items.

    Attributes:
        offsets: int64 (B + 1,).
        rows: int64 (N,), whose event it is, from 0 to B - 1.
        items: int64 (N,).
    """

    offsets: Tensor
    rows: Tensor
    items: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Items a person, int64 (B,)."""
        return self.offsets.diff()


class BagStore:
    """Histories of many people as sets; batches of them are put together on the device.

    Args:
        matrix: people x items; its entries say who took what.
    """

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self._offsets = matrix.indptr.astype(np.int64)
        self._items = matrix.indices.astype(np.int64)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def all(self, device: torch.device) -> Bags:
        """The bags of everybody."""
        return self.batch(np.arange(len(self)), device)

    def batch(self, rows: NDArray[np.integer], device: torch.device) -> Bags:
        """The bags of the people `rows` (B,)."""
        lengths = np.diff(self._offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picked = np.arange(offsets[-1]) + np.repeat(self._offsets[rows] - offsets[:-1], lengths)
        return Bags(
            offsets=torch.from_numpy(offsets).to(device),
            rows=torch.from_numpy(np.repeat(np.arange(len(rows)), lengths)).to(device),
            items=torch.from_numpy(self._items[picked]).to(device),
        )


def person_vectors(items: Tensor, bags: Bags, power: float = 0.5) -> Tensor:
    """``p = n^-power * sum of q_j over the n items j of the history``, (B, D); an empty history gives 0.

    Args:
        items: ``q``, (I, D).
        bags: the histories.
        power: 0 adds up, 1 takes the mean, between is a compromise.
    """
    return bag_sums(items, bags) * _scale(items, bags.lengths, power)[:, None]


def person_vectors_without_each(items: Tensor, bags: Bags, power: float = 0.5) -> Tensor:
    """For each event, what `person_vectors` gives its person without that item, (N, D)."""
    rest = bag_sums(items, bags).index_select(0, bags.rows) - nn.functional.embedding(bags.items, items)
    return rest * _scale(items, bags.lengths - 1, power)[bags.rows][:, None]


class HistoryEncoder(nn.Module):
    """``p = n^-power * sum of q_j over the n items j of the history``; an empty history gives 0.

    Args:
        n_items: I.
        dim: D.
        power: 0 adds up, 1 takes the mean, between is a compromise.
    """

    def __init__(self, n_items: int, dim: int, power: float = 0.5) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, dim)
        self.power = power

    @override
    def forward(self, bags: Bags) -> Tensor:
        """One vector a person, (B, D)."""
        return person_vectors(self.items.weight, bags, self.power)

    def without_each(self, bags: Bags) -> Tensor:
        """For each event, the vector of its person without that item, (N, D)."""
        return person_vectors_without_each(self.items.weight, bags, self.power)


def bag_sums(vectors: Tensor, bags: Bags, weights: Tensor | None = None) -> Tensor:
    """The sum of the vectors of the items of each bag, (B, D).

    On a CPU the gradient of an item's vector is summed as the vectors are, by the bags that the item is in: in a fixed
    order, and in half the time of torch's own, which sorts.

    Args:
        vectors: (I, D).
        bags: the histories.
        weights: (N,), without a gradient: how much each event counts; by default 1.
    """
    if not len(bags.items):
        return vectors.new_zeros(len(bags), vectors.shape[1])
    if vectors.device.type == "cpu":
        return _BagSums.apply(vectors, bags, weights)  # pyright: ignore[reportReturnType]
    return _sums(bags.items, vectors, bags.offsets, weights)


class _BagSums(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, vectors: Tensor, bags: Bags, weights: Tensor | None) -> Tensor:
        ctx.bags, ctx.weights, ctx.n_items = bags, weights, len(vectors)
        return _sums(bags.items, vectors, bags.offsets, weights)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        bags: Bags = ctx.bags
        values = np.ones(len(bags.items), np.float32) if ctx.weights is None else ctx.weights.numpy()
        parts = values, bags.items.numpy(), bags.offsets.numpy()
        by_item = sparse.csr_matrix(parts, shape=(len(bags), ctx.n_items)).tocsc()
        offsets, rows = (torch.from_numpy(part.astype(np.int64)) for part in (by_item.indptr, by_item.indices))
        weights = None if ctx.weights is None else torch.from_numpy(by_item.data)
        return _sums(rows, grad_outputs[0], offsets, weights), None, None


def _sums(index: Tensor, vectors: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
    return nn.functional.embedding_bag(
        index, vectors, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _scale(items: Tensor, lengths: Tensor, power: float) -> Tensor:
    return lengths.clamp(min=1).to(items.dtype) ** -power
