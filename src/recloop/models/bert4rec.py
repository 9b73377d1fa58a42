"""BERT4Rec: a transformer that looks both ways fills in what was blanked out of a history.

Sun et al., "BERT4Rec: sequential recommendation with bidirectional encoder representations from transformer", CIKM
2019; with the softmax over the catalogue and the training length that Petrov and Macdonald, "A systematic review and
replicability study of BERT4Rec", RecSys 2022, found it to need.
Shapes: B contexts, I items, D dimensions, L positions, M events of a batch.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.losses import softmax_loss
from recloop.nn.packing import Packing
from recloop.nn.transformer import Block, initialise
from recloop.nn.windows import Windows, runs, with_start
from recloop.search import Choice, Real, Space


class BERT4RecConfig(NeuralConfig):
    """Parameters of `BERT4Rec`.

    Attributes:
        dim: length of the vectors, D.
        layers: attention blocks.
        heads: of each block, a divisor of `dim`.
        dropout: share of activations set to zero in training.
        max_length: positions, L: the newest ``L - 1`` events and the blank behind them.
        masked: chance of each event of a training example to be blanked out.
        last_only: share of training examples in which the newest event alone is blanked out, as it is in scoring.

    A training example is a window of `max_length` events, blanked out anew in each pass.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "dropout": Real(0.0, 0.7),
        "masked": Real(0.1, 0.6),
    }

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    max_length: int = Field(default=50, ge=2)
    masked: float = Field(default=0.2, gt=0, lt=1)
    last_only: float = Field(default=0.1, ge=0, le=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        return self


class _Network(nn.Module):
    """Item embeddings, positions counted back from the newest, and blocks; index I is the blank."""

    def __init__(self, config: BERT4RecConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.positions = nn.Parameter(torch.empty(config.max_length, config.dim))
        self.biases = nn.Parameter(torch.empty(n_items))
        self.drop = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, config.dropout, causal=False, width=4) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    @override
    def forward(self, items: Tensor, packing: Packing, blanks: Tensor | None = None) -> Tensor:
        """States (., D) of the events at `blanks`, of `items` (M,), or of the newest of each sequence, (B, D)."""
        places = self.positions[len(self.positions) - 1 - packing.ages]
        states = self.drop(self.items(items) * self.items.embedding_dim**0.5 + places)
        *before, last = self.blocks
        for block in before:
            states = block(states, packing)
        states = self.norm(last(states, packing, newest_only=blanks is None, wanted=blanks))
        return torch.cat([states, states.new_ones(len(states), 1)], dim=1)

    def vectors(self) -> Tensor:
        """Item vectors with their biases behind, (I, D + 1)."""
        return torch.cat([self.items.weight[:-1], self.biases[:, None]], dim=1)


class BERT4Rec(NeuralModel[BERT4RecConfig, _Network]):
    """Scores = ``h . e_i + b_i``, with ``h`` (D,) the state of a blank put behind the newest event.

    Training blanks out events of a window at random, at least one, and predicts each from all the others, before and
    after it; in a share of the windows it blanks out the newest event alone. Scoring looks at the newest
    ``max_length - 1`` events. An empty history is a blank alone: its answer is what stands in any place, about the
    popularity of items; windows of one event teach it.

    Positions count back from the newest and no padding is computed, so neither the length nor the company of a batch
    matters. Which events a pass blanks out follows from the seed and the number of the pass alone.

    Differs from the paper: normalisation before the layers, no projection between the last block and the items, windows
    of the whole history, and every chosen event is blanked out; none is kept or replaced by another.
    """

    Config = BERT4RecConfig
    per_item = frozenset({"items.weight", "biases"})
    needs = frozenset({"timestamps"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        # what `Windows` predicts are all events behind the token: so its windows cover each event once
        offsets, self._items = with_start(data.histories.offsets, data.histories.items, self.n_items)
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
        packing = Packing(sizes, self.device)
        items = torch.from_numpy(self._items[source + 1]).to(self.device)
        blanks = self._blanks(packing, generator)
        hidden = self.network(items.masked_fill(blanks, self.n_items), packing, blanks.nonzero()[:, 0])
        return softmax_loss(hidden, self.network.vectors(), items[blanks])

    def _blanks(self, packing: Packing, generator: torch.Generator) -> Tensor:
        """Which events to blank out, bool (M,): in each sequence the newest alone, or some and at least one."""
        draws = torch.rand(len(packing.ages), generator=generator, device=self.device)
        alone = torch.rand(len(packing), generator=generator, device=self.device) < self.config.last_only
        whose = torch.repeat_interleave(packing.sizes)
        lowest = torch.full((len(packing),), 2.0, device=self.device).scatter_reduce_(0, whose, draws, "amin")
        some = (draws < self.config.masked) | (draws == lowest[whose])
        return torch.where(alone[whose], packing.ages == 0, some)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        blank = np.full(len(contexts), self.n_items)
        offsets = contexts.offsets + np.arange(len(contexts) + 1)
        items = np.insert(contexts.items, contexts.offsets[1:], blank)
        sizes = np.minimum(np.diff(offsets), self.config.max_length)
        inputs = torch.from_numpy(items[runs(offsets[1:], sizes)]).to(self.device)
        return self.network(inputs, Packing(sizes, self.device))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.vectors().detach()
