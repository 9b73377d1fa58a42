"""LightGCN: item vectors smoothed over the graph of who took what, without weights or activations.

He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020.
Shapes: B contexts, I items, U people, D dimensions, N hidden events of a batch.
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
from recloop.nn.graph import SmoothedItems, SparseProduct, mean, scales, symmetric
from recloop.nn.hiding import HiddenEvents, completion_loss
from recloop.nn.histories import BagStore
from recloop.nn.products import inner_products
from recloop.search import Choice, Real, Space, Whole


class LightGCNConfig(NeuralConfig):
    """Parameters of `LightGCN`.

    Attributes:
        dim: length of the vectors, D.
        layers: how often vectors go from items to people and back; each is two of the paper's layers.
        hidden: share of the events that a pass hides from the graph and asks for.
        loss: ``softmax`` over all items, ``sampled_softmax`` over `negatives` drawn for a batch, or ``bpr`` against
            one item for each event.
        negatives: items drawn for each batch, for ``sampled_softmax``.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "layers": Whole(1, 4),
        "hidden": Real(0.0, 0.7),
    }

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=1, ge=0)
    hidden: float = Field(default=0.3, gt=0, lt=1)
    loss: Literal["softmax", "sampled_softmax", "bpr"] = "softmax"
    negatives: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=0.03, gt=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=100, ge=1)


class LightGCN(NeuralModel[LightGCNConfig, SmoothedItems]):
    """Scores = ``p . z_i``, with ``z_i`` (D,) the smoothed item vectors and ``p`` the normalised sum of the history's.

    See `SmoothedItems`: with layer 0 of people set to zero, so that nobody has a vector to learn, the paper's graph of
    ``2 layers + 1`` steps gives just these vectors, up to a factor. The history of a stranger is therefore propagated
    exactly like that of a training person, whose answer is the same as in the graph. An empty history gets the mean
    vector of the training people.

    Unlike in the paper, each pass hides a share of the events, smooths over the graph of the others and predicts the
    hidden ones, so an event never helps to predict itself; and the loss compares with all items a person has not taken.
    The graph is propagated anew for each batch of people.
    """

    Config = LightGCNConfig

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
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        smoothed = mean(self.network.travel(self._graph))
        most = self.config.negatives if self.config.loss != "softmax" else self.n_items
        questions = self._events.batch(rows, most, generator)
        people = self.network.people(questions.visible, smoothed, self._scales)
        chosen = people.index_select(0, questions.rows)
        positives = (chosen * smoothed.index_select(0, questions.targets)).sum(dim=1)
        if self.config.loss == "bpr":
            others = self._events.unseen(rows[questions.rows.cpu().numpy()], 1, generator)[:, 0]
            negatives = (chosen * smoothed.index_select(0, others)).sum(dim=1)
            return nn.functional.softplus(negatives - positives).sum() / max(1, len(positives))
        scores = people @ smoothed.index_select(0, questions.candidates).T
        return completion_loss(scores, positives, questions)

    @override
    def pass_ends(self) -> None:
        self.network.keep(self._matrix)

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return inner_products(self.user_vectors(contexts), self.item_vectors())

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return self.network.known(BagStore(contexts.matrix(self.n_items)).all(self.device))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.smoothed
