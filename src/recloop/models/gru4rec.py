"""GRU4Rec: a recurrent network reads the history and predicts what comes next.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based recommendations with recurrent neural networks", ICLR 2016;
input and output share their item vectors as in Hidasi and Karatzoglou, "Recurrent neural networks with top-k gains for
session-based recommendations", CIKM 2018.
Shapes: B contexts, M events of a batch, I items, D dimensions, L positions.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.losses import sampled_softmax_loss, softmax_loss
from recloop.nn.negatives import uniform
from recloop.nn.packing import Packing
from recloop.nn.products import inner_products
from recloop.nn.recurrent import Cell, Recurrence
from recloop.nn.windows import Windows, runs, with_start
from recloop.search import Choice, Real, Space, Whole


class GRU4RecConfig(NeuralConfig):
    """Parameters of `GRU4Rec`.

    Attributes:
        cell: kind of recurrent network: ``gru``, ``lstm``, or ``rnn`` (tanh, without gates).
        dim: length of the item vectors and of the recurrent state, D.
        layers: recurrent layers, one upon the other.
        dropout: share of activations set to zero in training.
        max_length: newest events that the model looks at, L.
        loss: ``softmax`` over all items, or ``sampled_softmax`` over the target and `negatives` drawn items.
        negatives: items drawn for each batch, for ``sampled_softmax``.

    A training example is a window of `max_length` events.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "cell": Choice(("gru", "lstm", "rnn")),
        "dim": Choice((32, 64, 128, 256)),
        "dropout": Real(0, 0.6),
        "max_length": Whole(20, 200, log=True),
        "learning_rate": Real(0.0005, 0.01, log=True),
    }

    cell: Cell = "gru"
    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    max_length: int = Field(default=50, ge=1)
    loss: Literal["softmax", "sampled_softmax"] = "softmax"
    negatives: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)


class _Network(nn.Module):
    """Item embeddings, recurrent layers, a projection; index I is the start of every history."""

    def __init__(self, config: GRU4RecConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.drop = Dropout(config.dropout)
        self.recurrence = Recurrence(config.cell, config.dim, config.layers, config.dropout)
        self.project = nn.Linear(config.dim, config.dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Item vectors of expected length 1, projection and recurrence uniform, biases 0."""
        dim = self.items.embedding_dim
        nn.init.normal_(self.items.weight, std=dim**-0.5, generator=generator)
        self.recurrence.initialise(generator)
        nn.init.xavier_uniform_(self.project.weight, generator=generator)
        nn.init.zeros_(self.project.bias)

    @override
    def forward(self, items: Tensor, packing: Packing) -> Tensor:
        """``W h + c`` after each event, (M, D), for the `items` (M,) of the sequences of `packing`."""
        states = self.recurrence(packing.rows(self.drop(self.items(items))))
        return self.project(self.drop(packing.events(states)))


class GRU4Rec(NeuralModel[GRU4RecConfig, _Network]):
    """Scores = ``(W h + c) . e_i`` for the recurrent state ``h`` (D,) after the newest event and items ``e_i`` (D,).

    ``e_i`` is also what the network reads. Every history begins with a start token, so an empty one is answered with
    what people begin with. Training cuts histories into windows of `max_length` events from the newest back, each read
    from a state of zeros, and predicts the next item at every position. Scoring reads the newest `max_length` events,
    the token included where they are fewer.

    Unlike the papers: the loss is the softmax over the whole catalogue, or its estimate from uniformly drawn items,
    instead of a ranking loss (TOP1, BPR-max) against the other items of a batch; windows are read whole instead of
    step by step beside other sessions; the state is projected before it meets the items.
    """

    Config = GRU4RecConfig
    needs = frozenset({"timestamps"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        offsets, self._items = with_start(data.histories.offsets, data.histories.items, self.n_items)
        self._windows = Windows(offsets, self._items, self.config.max_length)
        return len(self._windows)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        events, sizes = self._windows.events(rows)
        seen, targets = (torch.from_numpy(self._items[at]).to(self.device) for at in (events, events + 1))
        hidden = self.network(seen, Packing(sizes, self.device))
        if self.config.loss == "softmax":
            return softmax_loss(hidden, self.item_vectors(), targets)
        sampled = uniform(self.n_items, self.config.negatives, generator)
        return sampled_softmax_loss(hidden, self.item_vectors(), targets, sampled)

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return inner_products(self.user_vectors(contexts), self.item_vectors().detach())

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        offsets, items = with_start(contexts.offsets, contexts.items, self.n_items)
        sizes = np.minimum(np.diff(offsets), self.config.max_length)
        packing = Packing(sizes, self.device)
        seen = torch.from_numpy(items[runs(offsets[1:], sizes)]).to(self.device)
        return self.network(seen, packing)[packing.newest]

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items.weight[: self.n_items]
