"""What recurrent models have in common: windows read in order, the next item predicted at every position.

Shapes: B contexts, M events of a batch, I items, D dimensions, L positions.
"""

from abc import abstractmethod
from typing import Generic, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypeVar, override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.losses import sampled_softmax_loss, softmax_loss
from recloop.nn.negatives import uniform
from recloop.nn.packing import Packing
from recloop.nn.recurrent import Cell
from recloop.nn.windows import Windows, runs, with_start


class RecurrentConfig(NeuralConfig):
    """Parameters of recurrent models.

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


class RecurrentNetwork(nn.Module):
    """Reads item embeddings, of which index I is the start of every history; a subclass says what comes of them."""

    items: nn.Embedding

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Give every parameter its first value."""

    @override
    @abstractmethod
    def forward(self, items: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """What is scored against the items, after each of the events `items` (M,), (M, D), or the newest, (B, D)."""


C_co = TypeVar("C_co", bound=RecurrentConfig, default=RecurrentConfig, covariant=True)
N = TypeVar("N", bound=RecurrentNetwork, default=RecurrentNetwork)


class RecurrentModel(NeuralModel[C_co, N], Generic[C_co, N]):
    """Scores are inner products of what the network makes of the history with the item vectors that it also reads.

    Every history begins with a start token, so an empty one is answered with what people begin with. Training cuts
    histories into windows of `max_length` events from the newest back and predicts the next item at every position.
    Scoring reads the newest `max_length` events, the token included where they are fewer.
    """

    needs = frozenset({"timestamps"})
    per_item = frozenset({"items.weight"})

    large_products = True

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        offsets, self._items = with_start(data.histories.offsets, data.histories.items, self.n_items)
        self._windows = Windows(offsets, self._items, self.config.max_length)
        return len(self._windows)

    @override
    def owners(self) -> NDArray[np.int64]:
        return self._windows.owners

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
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        offsets, items = with_start(contexts.offsets, contexts.items, self.n_items)
        sizes = np.minimum(np.diff(offsets), self.config.max_length)
        seen = torch.from_numpy(items[runs(offsets[1:], sizes)]).to(self.device)
        return self.network(seen, Packing(sizes, self.device), newest_only=True)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items.weight[: self.n_items]
