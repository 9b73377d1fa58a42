"""What models of item vectors smoothed over the graph of who took what have in common; each says what its loss is.

He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020.
Shapes: I items, D dimensions.
"""

from typing import Generic

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar, override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.graph import SmoothedItems, SparseProduct, scales, symmetric
from recloop.nn.hiding import HiddenEvents
from recloop.nn.histories import BagStore


class GraphCFConfig(NeuralConfig):
    """Parameters of models of smoothed item vectors.

    Attributes:
        dim: length of the vectors, D.
        layers: how often vectors go from items to people and back; each is two of the paper's layers.
        hidden: share of the events that a pass hides from the graph and asks for.
        negatives: items drawn for each batch, for the loss ``sampled_softmax``.

    A training example is a person.
    """

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=1, ge=0)
    hidden: float = Field(default=0.3, gt=0, lt=1)
    negatives: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=0.03, gt=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=100, ge=1)


C_co = TypeVar("C_co", bound=GraphCFConfig, default=GraphCFConfig, covariant=True)


class GraphCF(NeuralModel[C_co, SmoothedItems], Generic[C_co]):
    """Scores = ``p . z_i``, with ``z_i`` (D,) the smoothed item vectors and ``p`` the normalised sum of the history's.

    See `SmoothedItems`: nobody has a vector to learn, and a stranger is propagated exactly like a training person. An
    empty history gets the mean vector of the training people. Each pass hides a share of the events, smooths over the
    graph of the others and predicts the hidden ones, so an event never helps to predict itself.
    """

    per_item = frozenset({"items"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        self._matrix = data.histories.matrix(self.n_items)
        self._events = HiddenEvents(self._matrix, self.device)
        return len(data.histories)

    @override
    def new_network(self) -> SmoothedItems:
        return SmoothedItems(self.n_items, self.config.dim, self.config.layers)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @override
    def pass_begins(self, generator: torch.Generator) -> None:
        visible = self._events.draw(self.config.hidden, generator)
        self._graph = SparseProduct.of(symmetric(visible), self.device)
        self._scales = scales(visible).to(self.device)

    @override
    def pass_ends(self) -> None:
        self.network.keep(self._matrix)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return self.network.known(BagStore(contexts.matrix(self.n_items)).all(self.device))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.smoothed
