"""Graphs of people, items and entities: sparse products with a gradient, propagation, sampled neighbours.

Shapes: U people, I items, E entities, T triples, D dimensions, K neighbours of an entity.
"""

import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.knowledge import Knowledge
from recloop.nn.histories import Bags


class SparseProduct:
    """Multiplies a fixed sparse matrix (n, m) with dense ones (m, D); the gradient is a product with its transpose.

    Each row is summed by one thread in the order of its entries, so the result does not depend on timing.

    Args:
        matrix: in compressed rows, a sparse tensor.
        transposed: its transpose, likewise.
    """

    def __init__(self, matrix: Tensor, transposed: Tensor) -> None:
        self._matrix, self._transposed = matrix, transposed

    @classmethod
    def of(cls, matrix: sparse.csr_matrix, device: torch.device) -> Self:
        """The product with `matrix`, computed on `device`."""
        return cls(_compressed(matrix, device), _compressed(matrix.T.tocsr(), device))

    def __matmul__(self, dense: Tensor) -> Tensor:
        return _Product.apply(dense, self._matrix, self._transposed)  # pyright: ignore[reportReturnType]

    def transposed(self) -> "SparseProduct":
        """The product with the transpose, which shares its memory."""
        return SparseProduct(self._transposed, self._matrix)


class _Product(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, dense: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        with torch.autocast(dense.device.type, enabled=False):
            return matrix @ dense.float()

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ grad_outputs[0].contiguous(), None, None


def _compressed(matrix: sparse.csr_matrix, device: torch.device) -> Tensor:
    parts = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data.astype(np.float32))
    offsets, columns, values = (torch.from_numpy(part) for part in parts)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state", category=UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, size=matrix.shape, check_invariants=False).to(device)


def scales(matrix: sparse.csr_matrix) -> Tensor:
    """``1 / sqrt(d_i)`` of the items, float32 (I,), with ``d_i`` how many people took the item, at least 1."""
    degrees = matrix.getnnz(axis=0)
    return torch.from_numpy(1 / np.sqrt(np.maximum(degrees, 1))).float()


def symmetric(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """``D_u^-1/2 R D_i^-1/2`` of people x items, float32 (U, I): each entry over the root of both degrees."""
    lengths = np.diff(matrix.indptr)
    people = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    data = (people * scales(matrix).numpy()[matrix.indices]).astype(np.float32)
    return sparse.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


class SmoothedItems(nn.Module):
    """Item vectors that travel to people and back; a person is the normalised sum of the items of the history.

    ``E_0`` is learned, ``E_(l+1) = A' A E_l`` with ``A`` (U, I) of `symmetric`, and ``Z`` is the mean of these
    ``E_0 .. E_L``.
    A person of n items is ``p = n^-1/2 sum_i d_i^-1/2 z_i``, which is a row of ``A Z`` for people of the graph, and the
    mean of those for an empty history.

    Args:
        n_items: I.
        dim: D.
        layers: L.
    """

    smoothed: Tensor
    scales: Tensor
    nobody: Tensor

    def __init__(self, n_items: int, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.items = nn.Parameter(torch.empty(n_items, dim))
        self.register_buffer("smoothed", torch.empty(n_items, dim))
        self.register_buffer("scales", torch.empty(n_items))
        self.register_buffer("nobody", torch.empty(dim))

    def initialise(self, generator: torch.Generator) -> None:
        """Small normal vectors; nothing is smoothed yet."""
        nn.init.normal_(self.items, std=0.1, generator=generator)
        self.smoothed.zero_()
        self.scales.fill_(1)
        self.nobody.zero_()

    def travel(
        self, graph: SparseProduct, change: Callable[[Tensor], Tensor] = lambda vectors: vectors
    ) -> list[Tensor]:
        """``E_0 .. E_L``, (I, D) each; `change` is applied to what arrives at each stop, if given."""
        back = graph.transposed()
        reached: list[Tensor] = [self.items]
        for _ in range(self.layers):
            people = graph @ reached[-1]
            items = back @ (people if change is None else change(people))
            reached.append(items if change is None else change(items))
        return reached

    def keep(self, matrix: sparse.csr_matrix) -> None:
        """Smooth the items over the graph of `matrix` (U, I), for `people` and `smoothed` to use from now on."""
        graph = SparseProduct.of(symmetric(matrix), self.items.device)
        self.smoothed.copy_(mean(self.travel(graph)))
        self.scales.copy_(scales(matrix))
        self.nobody.copy_((graph @ self.smoothed).sum(dim=0) / max(1, len(matrix.indptr) - 1))

    def people(self, bags: Bags, smoothed: Tensor, weights: Tensor) -> Tensor:
        """Vectors of the people of `bags` (B, D); zero for an empty history.

        Args:
            bags: histories.
            smoothed: ``Z`` (I, D).
            weights: ``d^-1/2`` (I,).
        """
        if not len(bags.items):
            return smoothed.new_zeros(len(bags), smoothed.shape[1])
        sums = nn.functional.embedding_bag(
            bags.items, smoothed * weights[:, None], bags.offsets, mode="sum", include_last_offset=True
        )
        return sums * bags.lengths.clamp(min=1).to(sums.dtype).rsqrt()[:, None]

    def known(self, bags: Bags) -> Tensor:
        """Vectors of the people of `bags` (B, D) from what was kept, `nobody` for an empty history."""
        found = self.people(bags, self.smoothed, self.scales)
        return torch.where(bags.lengths[:, None] > 0, found, self.nobody)


def mean(layers: list[Tensor]) -> Tensor:
    """The mean of tensors of one shape."""
    return torch.stack(layers).mean(dim=0)


def sampled_neighbours(knowledge: Knowledge, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each entity, `count` of its neighbours and by which relation, two int64 (E, K), on the CPU.

    Triples are followed both ways. An entity with fewer neighbours has some of them repeatedly; one with none is its
    own neighbour by the relation `n_relations`.

    Args:
        knowledge: the triples.
        count: K.
        generator: on any device.
    """
    heads = np.concatenate([knowledge.heads, knowledge.tails])
    tails = np.concatenate([knowledge.tails, knowledge.heads])
    relations = np.concatenate([knowledge.relations, knowledge.relations])
    shuffled = torch.rand(len(heads), generator=generator, device=generator.device).cpu().numpy()
    order = np.lexsort((shuffled, heads))
    degrees = np.bincount(heads, minlength=knowledge.n_entities)
    firsts = np.cumsum(degrees) - degrees
    position = np.arange(count)[None, :] % np.maximum(degrees, 1)[:, None]
    alone = degrees == 0
    tails = np.append(tails[order], 0)
    relations = np.append(relations[order], 0)
    picked = np.where(alone[:, None], len(heads), firsts[:, None] + position)
    neighbours, by = tails[picked], relations[picked]
    neighbours[alone] = np.flatnonzero(alone)[:, None]
    by[alone] = knowledge.n_relations
    return torch.from_numpy(neighbours), torch.from_numpy(by)
