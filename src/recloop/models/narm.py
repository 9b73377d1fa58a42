"""NARM: a recurrent network whose newest state looks back at all earlier ones.

Li, Ren, Chen, Ren, Lian and Ma, "Neural attentive session-based recommendation", CIKM 2017.
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


class NARMConfig(NeuralConfig):
    """Parameters of `NARM`.

    Attributes:
        cell: kind of recurrent network: ``gru`` as in the paper, ``lstm``, or ``rnn`` (tanh, without gates).
        dim: length of the item vectors and of the recurrent state, D.
        layers: recurrent layers, one upon the other.
        dropout: share of activations set to zero in training.
        max_length: newest events that the model looks at, L.
        loss: ``softmax`` over all items, or ``sampled_softmax`` over the target and `negatives` drawn items.
        negatives: items drawn for each batch, for ``sampled_softmax``.

    A training example is a window of `max_length` events; a batch takes memory for ``batch_size * L^2 * D`` numbers.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Choice((32, 64, 128)),
        "dropout": Real(0, 0.6),
        "max_length": Whole(20, 100, log=True),
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


class Attention(nn.Module):
    """``sum_j a_tj h_j`` over the states j up to t, with ``a_tj = v . s(A h_t + C h_j)`` and the logistic function s.

    The weights ``a`` are not normalised, as in the paper.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.weigh = nn.Parameter(torch.empty(1, dim))

    @override
    def forward(self, states: Tensor) -> Tensor:
        """The sum at every position t, (B, L, D), for `states` (B, L, D)."""
        return self._weights(self.query(states), states).tril() @ states

    def newest(self, asking: Tensor, states: Tensor, present: Tensor) -> Tensor:
        """The sum for the newest states alone, (B, D).

        Args:
            asking: (B, D), the newest state of each sequence.
            states: (B, L, D).
            present: bool (B, L), where there is a state.
        """
        weights = self._weights(self.query(asking)[:, None], states) * present[:, None]
        return (weights @ states)[:, 0]

    def _weights(self, queries: Tensor, states: Tensor) -> Tensor:
        """``a`` of each query (B, T, D) for each state (B, L, D), (B, T, L)."""
        return torch.sigmoid(queries[:, :, None] + self.key(states)[:, None]) @ self.weigh[0]


class _Network(nn.Module):
    """Item embeddings, recurrent layers, attention, the decoder; index I is the start of every history."""

    def __init__(self, config: NARMConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.drop = Dropout(config.dropout)
        self.recurrence = Recurrence(config.cell, config.dim, config.layers, config.dropout)
        self.attention = Attention(config.dim)
        self.decode = nn.Linear(2 * config.dim, config.dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Item vectors of expected length 1, matrices and recurrence uniform, the decoder's bias 0."""
        nn.init.normal_(self.items.weight, std=self.items.embedding_dim**-0.5, generator=generator)
        self.recurrence.initialise(generator)
        for matrix in (*self.attention.parameters(), self.decode.weight):
            nn.init.xavier_uniform_(matrix, generator=generator)
        nn.init.zeros_(self.decode.bias)

    @override
    def forward(self, items: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """What is scored against the items, after each of the events `items` (M,), (M, D), or the newest, (B, D)."""
        states = self.recurrence(packing.rows(self.drop(self.items(items))))
        own = packing.events(states)
        if newest_only:
            own = own[packing.newest]
            looked_back = self.attention.newest(own, states, packing.present)
        else:
            looked_back = packing.events(self.attention(states))
        return self.decode(self.drop(torch.cat([own, looked_back], dim=1)))


class NARM(NeuralModel[NARMConfig, _Network]):
    """Scores = ``e_i . (B [h_t; sum_j a_tj h_j] + b)`` for the recurrent states ``h_j`` (D,) up to the newest, ``h_t``.

    ``h_t`` says what the history as a whole is about, the sum which events matter for what comes next (see
    `Attention`); ``e_i`` (D,) is also what the network reads. Every history begins with a start token, so an empty one
    is answered with what people begin with. Training cuts histories into windows of `max_length` events from the newest
    back and predicts the next item at every position at once, each looking back at earlier states only. Scoring looks
    at the newest `max_length` events, the token included where they are fewer.

    Unlike the paper: the start token; windows trained at all positions instead of one copy of a session for each of its
    prefixes; a bias ``b`` in the decoder.
    """

    Config = NARMConfig
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
        seen = torch.from_numpy(items[runs(offsets[1:], sizes)]).to(self.device)
        return self.network(seen, Packing(sizes, self.device), newest_only=True)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items.weight[: self.n_items]
