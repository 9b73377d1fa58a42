"""Fields of a pair of person and item: hashed features as vectors, and layers in which fields interact.

Guo et al., "DeepFM: a factorization-machine based neural network for CTR prediction", IJCAI 2017; Wang et al., "DCN V2:
improved deep & cross network and practical lessons for web-scale learning to rank systems", WWW 2021.
Shapes: B rows, M entries of all rows, F known buckets, G fields, D dimensions of a field, X of all fields side by side.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag, relu
from typing_extensions import override

from recloop.nn.histories import Bags, HistoryEncoder


@dataclass(frozen=True, kw_only=True)
class SparseRows:
    """Weighted buckets of B rows, in compressed rows; a row may have none.

    Attributes:
        offsets: int64 (B + 1,).
        buckets: int64 (M,).
        weights: float32 (M,).
    """

    offsets: Tensor
    buckets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Tensor) -> "SparseRows":
        """The rows at `rows` int64 (B',), repeats allowed."""
        lengths = self.offsets.diff()[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shifts = torch.repeat_interleave(self.offsets[rows] - offsets[:-1], lengths)
        picked = torch.arange(len(shifts), device=rows.device) + shifts
        return SparseRows(offsets=offsets, buckets=self.buckets[picked], weights=self.weights[picked])

    @classmethod
    def of(
        cls,
        offsets: NDArray[np.int64],
        buckets: NDArray[np.int64],
        weights: NDArray[np.float32],
        device: torch.device,
    ) -> "SparseRows":
        """From the arrays of compressed rows."""
        parts = (torch.tensor(part, device=device) for part in (offsets, buckets, weights))
        return cls(**dict(zip(("offsets", "buckets", "weights"), parts, strict=True)))

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> "SparseRows":
        """Rows of which nothing is known."""
        zeros = torch.zeros(rows + 1, dtype=torch.int64, device=device)
        return cls(offsets=zeros, buckets=zeros[:0], weights=torch.zeros(0, device=device))


class FeatureVectors(nn.Module):
    """``sum_m w_m v_m`` over the features m of a row, with a learned vector ``v`` (D,) for each bucket met in training.

    Buckets that training has not met say nothing: they count as 0, and so does a row without features.

    Args:
        n_buckets: F.
        dim: D.
    """

    def __init__(self, n_buckets: int, dim: int) -> None:
        super().__init__()
        self.known = nn.Buffer(torch.empty(n_buckets, dtype=torch.int64))
        self.vectors = nn.Embedding(n_buckets + 1, dim)

    def initialise(self, known: Tensor, std: float, generator: torch.Generator) -> None:
        """Learn which buckets there are, int64 (F,) in ascending order; normal vectors of deviation `std`."""
        self.known.copy_(known)
        nn.init.normal_(self.vectors.weight, std=std, generator=generator)

    def rows_among(self, buckets: Tensor) -> NDArray[np.int64]:
        """Where each of the F known buckets is in `buckets`, int64 (F',) in ascending order; -1 where it is not."""
        if not len(buckets):
            return np.full(len(self.known), -1, dtype=np.int64)
        place = torch.searchsorted(buckets, self.known).clamp(max=len(buckets) - 1)
        return torch.where(buckets[place] == self.known, place, -1).cpu().numpy()

    @override
    def forward(self, rows: SparseRows) -> Tensor:
        """One vector a row, (B, D)."""
        if not len(self.known) or not len(rows.buckets):
            return self.vectors.weight.new_zeros(len(rows), self.vectors.embedding_dim)
        place = torch.searchsorted(self.known, rows.buckets).clamp(max=len(self.known) - 1)
        weights = rows.weights * (self.known[place] == rows.buckets)
        return embedding_bag(
            place,
            self.vectors.weight,
            rows.offsets,
            mode="sum",
            per_sample_weights=weights.to(self.vectors.weight.dtype),
            include_last_offset=True,
        )


class Perceptron(nn.Module):
    """``relu(W_n ... relu(W_1 x + b_1) ... + b_n)``, all layers equally wide.

    Args:
        inputs: X.
        width: of each layer.
        layers: n; 0 gives ``x`` back.
    """

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        widths = [inputs] + [width] * layers
        self.layers = nn.ModuleList(nn.Linear(*ends) for ends in itertools.pairwise(widths))
        self.width = widths[-1]

    def initialise(self, generator: torch.Generator) -> None:
        """He's normal weights, which keep the size of what goes through, and zero biases."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """(..., width) for `inputs` (..., X)."""
        for layer in self.layers:
            inputs = relu(layer(inputs))
        return inputs


class CrossLayers(nn.Module):
    """``x_{l+1} = x_0 * (U_l (V_l x_l) + b_l) + x_l``, l from 0: each layer raises the degree of interactions by one.

    Args:
        inputs: X.
        layers: how many.
        rank: of the matrix ``U_l V_l``; at least X means one full matrix, as in the first form of the paper.
    """

    def __init__(self, inputs: int, layers: int, rank: int) -> None:
        super().__init__()
        low = rank < inputs
        self.inner = nn.ModuleList(nn.Linear(inputs, rank, bias=False) if low else nn.Identity() for _ in range(layers))
        self.outer = nn.ModuleList(nn.Linear(rank if low else inputs, inputs) for _ in range(layers))

    def initialise(self, generator: torch.Generator) -> None:
        """Small normal weights, so that training begins near ``x_l = x_0``; zero biases."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """``x`` after the last layer, (..., X), for ``x_0`` = `inputs` (..., X)."""
        state = inputs
        for inner, outer in zip(self.inner, self.outer, strict=True):
            state = inputs * outer(inner(state)) + state
        return state


def pairwise(fields: Tensor) -> Tensor:
    """``sum_{g < h} v_g . v_h`` over the G fields' vectors, (...), for `fields` (..., G, D).

    Rendle, "Factorization machines", ICDM 2010: half of the square of the sum less the sum of the squares.
    """
    return (fields.sum(dim=-2).square() - fields.square().sum(dim=-2)).sum(dim=-1) / 2


class PairFields(nn.Module):
    """Four fields of D numbers: a person's history and features, an item itself and its features.

    The history's is ``nobody + n^-0.5 * (sum of vectors of the n items)``, as in FISM (Kabbur et al., KDD 2013), so
    that people never seen have one too.

    Args:
        n_items: size of the catalogue.
        dim: D.
        n_buckets: known buckets of people and of items.
    """

    def __init__(self, n_items: int, dim: int, n_buckets: Sequence[int]) -> None:
        super().__init__()
        self.history = HistoryEncoder(n_items, dim)
        self.nobody = nn.Parameter(torch.empty(dim))
        self.user_features = FeatureVectors(n_buckets[0], dim)
        self.items = nn.Embedding(n_items, dim)
        self.item_features = FeatureVectors(n_buckets[1], dim)
        self.described = nn.Buffer(torch.empty(n_items, dim))

    def initialise(self, known: Sequence[Tensor], std: float, generator: torch.Generator) -> None:
        """Normal vectors of deviation `std`; `known` buckets of people and of items, int64, in ascending order."""
        for vectors in (self.history.items.weight, self.nobody, self.items.weight):
            nn.init.normal_(vectors, std=std, generator=generator)
        for features, buckets in zip((self.user_features, self.item_features), known, strict=True):
            features.initialise(buckets, std, generator)

    def describe(self, features: SparseRows) -> None:
        """Keep the vectors of the `features` of all items for scoring."""
        self.described.copy_(self.item_features(features))

    def people(self, bags: Bags, features: SparseRows) -> Tensor:
        """The fields of people, (B, 2, D)."""
        return torch.stack([self.nobody + self.history(bags), self.user_features(features)], dim=1)

    def learnt(self, items: Tensor, features: SparseRows) -> Tensor:
        """The fields of `items` int64 (...), with a gradient, (..., 2, D); `features` are those of all items."""
        distinct, places = items.unique(return_inverse=True)
        fields = torch.cat([self.items(distinct), self.item_features(features.take(distinct))], dim=1)
        return embedding(places, fields).unflatten(-1, (2, -1))

    def catalogue(self) -> Tensor:
        """The fields of all items, as `describe` left them, (I, 2, D)."""
        return torch.stack([self.items.weight, self.described], dim=1)
