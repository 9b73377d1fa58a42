"""HSTU: attention that adds up instead of choosing, gated, and knows how long ago things happened.

Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers for generative
recommendations", ICML 2024.
Shapes: B contexts, I items, D dimensions, H heads, L positions, M events of a batch, b sequences of a part, q queries
of each.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import silu
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.losses import sampled_softmax_loss, softmax_loss
from recloop.nn.negatives import uniform
from recloop.nn.packing import Packing
from recloop.nn.transformer import initialise
from recloop.nn.windows import Windows, prepend, runs, with_start
from recloop.search import Choice, Real, Space, Whole

_SECOND = 1_000_000
_AGES = 33
"""Buckets of time: below a second, then doubling; the last begins at 136 years."""


class HSTUConfig(NeuralConfig):
    """Parameters of `HSTU`.

    Attributes:
        dim: length of the vectors, D.
        layers: blocks.
        heads: of each block, a divisor of `dim`.
        dropout: share of activations set to zero in training.
        max_length: newest events that the model looks at, L.
        loss: ``softmax`` over all items, or ``sampled_softmax`` over the target and `negatives` uniformly drawn items.
        negatives: items drawn for each batch, for ``sampled_softmax``.

    A training example is a window of `max_length` events.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "layers": Whole(1, 4),
        "dropout": Real(0.0, 0.7),
    }

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    max_length: int = Field(default=50, ge=1)
    loss: Literal["softmax", "sampled_softmax"] = "softmax"
    negatives: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        return self


class _Block(nn.Module):
    """``x + W (norm(A v) * u)`` with ``u, v, q, k = silu(V norm(x))`` and A as `HSTU` defines it."""

    def __init__(self, config: HSTUConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.dim)
        self.expand = nn.Linear(config.dim, 4 * config.dim)
        self.gathered_norm = nn.LayerNorm(config.dim)
        self.project = nn.Linear(config.dim, config.dim)
        self.drop = Dropout(config.dropout)
        self.by_distance = nn.Parameter(torch.empty(config.max_length))
        self.by_age = nn.Parameter(torch.empty(_AGES))

    @override
    def forward(self, states: Tensor, times: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """New states (M, D), or (B, D) of the newest event of each sequence alone; `times` (M,) are in seconds."""
        gate, *rest = silu(self.expand(self.norm(states))).chunk(4, dim=1)
        each = packing.events_each
        parts = zip(*(part.split(each) for part in (*rest, times[:, None])), packing.parts, strict=True)
        gathered = torch.cat([self._gather(*part, newest_only=newest_only) for part in parts])
        if newest_only:
            gate, states = gate[packing.newest], states[packing.newest]
        return states + self.project(self.drop(self.gathered_norm(gathered) * gate))

    def _gather(
        self, value: Tensor, query: Tensor, key: Tensor, times: Tensor, packing: Packing, *, newest_only: bool
    ) -> Tensor:
        """``A v`` of each event (M, D), or of the newest of each sequence (B, D)."""
        value, key = (packing.rows(part).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (value, key))
        known = packing.rows(times)[:, :, 0]
        places = torch.arange(packing.length, device=times.device)
        if newest_only:
            query, asked, where = query[packing.newest][:, None], times[packing.newest], packing.sizes[:, None] - 1
        else:
            query, asked, where = packing.rows(query), known, places[None]
        distances = where[:, :, None] - places
        biases = _Lookup.apply(self.by_distance, distances.clamp(min=0))
        biases = biases + _Lookup.apply(self.by_age, _buckets(asked[:, :, None] - known[:, None]))
        products = query.unflatten(2, (self.heads, -1)).transpose(1, 2) @ key.transpose(2, 3)
        weights = silu(products + biases[:, None]).masked_fill(distances[:, None] < 0, 0)
        gathered = (weights.to(value.dtype) @ value / (where + 1)[:, None, :, None]).transpose(1, 2).flatten(2)
        return gathered[:, 0] if newest_only else packing.events(gathered)


def _buckets(seconds: Tensor) -> Tensor:
    """``floor(log2(1 + seconds))``, at most 32: how long ago something was, in steps that double."""
    return torch.frexp((seconds.clamp(min=0) + 1).double()).exponent.long().sub_(1).clamp_(max=_AGES - 1)


class _Lookup(torch.autograd.Function):
    """``table[index]`` for a short `table`; the gradient is summed an entry after the other, always in one order."""

    @staticmethod
    @override
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(table)
        return table[index]

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        (slope,) = grad_outputs
        sums = torch.bincount(index.flatten(), weights=slope.flatten().double(), minlength=ctx.size)
        return sums.to(slope.dtype), None


class _Network(nn.Module):
    """Item embeddings and blocks; index I is the start of every history."""

    def __init__(self, config: HSTUConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.drop = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    @override
    def forward(self, items: Tensor, times: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """States after each of the events `items` (M,), (M, D), or after the newest of each sequence, (B, D)."""
        states = self.drop(self.items(items) * self.items.embedding_dim**0.5)
        for index, block in enumerate(self.blocks):
            states = block(states, times, packing, newest_only=newest_only and index == len(self.blocks) - 1)
        return self.norm(states)


class HSTU(NeuralModel[HSTUConfig, _Network]):
    """Scores = ``h . e_i``, with ``h`` (D,) the state after the newest event and ``e_i`` (D,) the items' embeddings.

    Event n gathers from the events m up to it with weights ``A_nm = silu(q_n . k_m + p[n - m] + a[t_n - t_m]) / n``, p
    learned for each distance and a for each power of two of the seconds between. The weights need not add up to one,
    so that how much there is of something counts, where softmax keeps proportions alone.

    Every history begins with a start token, as old as its first event, so an empty one is answered with what people
    begin with. Training cuts histories into windows of `max_length` events from the newest back and predicts at each
    position the next item. Scoring looks at the newest `max_length` events. Only differences of times count; neither
    the length nor the company of a batch matters.

    Differs from the paper: weights are divided by the number of events seen instead of the longest length, the time
    that counts is that of the newest event seen, since when the next will come is not known, items are scored by plain
    inner products, and there are no positions but relative ones. Attention weights are written down, so memory grows
    with ``batch_size * heads * max_length ** 2``.
    """

    Config = HSTUConfig
    per_item = frozenset({"items.weight"})
    needs = frozenset({"timestamps"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        offsets, self._items, self._times = self._started(data.histories)
        self._windows = Windows(offsets, self._items, self.config.max_length)
        return len(self._windows)

    @override
    def owners(self) -> NDArray[np.int64]:
        return self._windows.owners

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        initialise(self.network, generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        source, sizes = self._windows.events(self._windows.by_length(rows))
        columns = (self._items[source], self._times[source], self._items[source + 1])
        seen, times, targets = (torch.from_numpy(column).to(self.device) for column in columns)
        hidden = self.network(seen, times, Packing(sizes, self.device))
        if self.config.loss == "softmax":
            return softmax_loss(hidden, self.item_vectors(), targets)
        sampled = uniform(self.n_items, self.config.negatives, generator)
        return sampled_softmax_loss(hidden, self.item_vectors(), targets, sampled)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        offsets, items, times = self._started(contexts)
        sizes = np.minimum(np.diff(offsets), self.config.max_length)
        newest = runs(offsets[1:], sizes)
        seen, when = (torch.from_numpy(column[newest]).to(self.device) for column in (items, times))
        return self.network(seen, when, Packing(sizes, self.device), newest_only=True)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items.weight[: self.n_items]

    def _started(self, contexts: Contexts) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Offsets, items and times in seconds of the histories, the start token included."""
        offsets, items = with_start(contexts.offsets, contexts.items, self.n_items)
        firsts = np.append(contexts.timestamps, 0)[contexts.offsets[:-1]]
        return offsets, items, prepend(contexts.offsets, contexts.timestamps, firsts) // _SECOND
