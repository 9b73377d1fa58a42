"""Multi-task: what people take and how they rate it are learned from one shared idea of people and items.

Ma et al., "Entire space multi-task model", SIGIR 2018, and "Modeling task relationships in multi-task learning with
multi-gate mixture-of-experts", KDD 2018, in the simplest form of both: everything below the heads is shared.
Shapes: B people or contexts, I items, D dimensions, T items to predict, S sampled items.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.collaborative import PairPerceptron, in_blocks
from recloop.nn.fields import PairFields, SparseRows
from recloop.nn.histories import BagStore
from recloop.nn.holdouts import Candidates, HoldoutStore
from recloop.nn.negatives import uniform
from recloop.search import Choice, Real, Space

_KNOWN = ("fields.user_features.known", "fields.item_features.known")


class MultitaskConfig(NeuralConfig):
    """Parameters of `Multitask`.

    Attributes:
        dim: length of the vectors, D.
        layers: of the perceptron that predicts ratings.
        rating_weight: of the error of ratings in the loss, beside the weight 1 of the choice of items.
        negatives: items drawn for each batch, S.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "rating_weight": Real(0.0, 1.0),
    }

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=1, ge=1)
    rating_weight: float = Field(default=0.2, ge=0)
    negatives: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=40, ge=1)


class _Network(nn.Module):
    def __init__(self, config: MultitaskConfig, n_items: int, n_buckets: list[int]) -> None:
        super().__init__()
        self.fields = PairFields(n_items, config.dim, n_buckets)
        self.perceptron = PairPerceptron(config.dim, config.layers)
        self.out = nn.Linear(self.perceptron.width, 1)
        self.scale = nn.Buffer(torch.empty(2))

    @override
    def forward(self, people: Tensor, items: Tensor) -> Tensor:
        """Standardised ratings of pairs of vectors, (...)."""
        return self.out(self.perceptron(self.perceptron.person(people), self.perceptron.item(items)))[..., 0]


class Multitask(NeuralModel[MultitaskConfig, _Network]):
    """Score of item i = ``p . q_i``, the head that predicts what is taken; `ratings` gives those of the other head.

    ``p = nobody + n^-0.5 * (sum of vectors of the n items of the history) + (sum of vectors of the person's hashed
    features)`` and ``q_i = (item's own vector) + (sum of vectors of its hashed features)`` are shared. The loss is a
    softmax over `negatives` sampled items, plus `rating_weight` times the squared error of the standardised ratings of
    the taken items, predicted by a perceptron over ``[p; q_i]``. Where all ratings are equal, only the choice of items
    is learned.

    The papers have a vector a user and predict clicks and purchases; here people are their histories, as in FISM
    (Kabbur et al., KDD 2013), of which training shows a random part and predicts the rest, and there are no gates. An
    empty history without features gets ``nobody``.
    """

    Config = MultitaskConfig
    per_item = frozenset({"fields.history.items.weight", "fields.items.weight"})
    takes = frozenset({"item_features", "user_features"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        ratings = _mean_values(data.histories, self.n_items)
        self._people = HoldoutStore(ratings)
        spread = float(ratings.data.std()) if ratings.nnz else 0.0
        self._scale = torch.tensor([float(ratings.data.mean()) if ratings.nnz else 0.0, spread])
        self._rated = spread > 0
        self._user_features = self._rows(data.histories.features, len(data.histories))
        self._item_features = self._rows(None if data.items is None else Features.from_frame(data.items), self.n_items)
        self._known = [rows.buckets.unique() for rows in (self._user_features, self._item_features)]
        self._sizes = [len(known) for known in self._known]
        return len(self._people)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self._sizes)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        self._sizes = [len(self._tensor(tensors, name, (None,))) for name in _KNOWN]

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.fields.initialise(self._known, 0.1, generator)
        self.network.perceptron.initialise(generator)
        nn.init.normal_(self.network.out.weight, std=0.1, generator=generator)
        nn.init.zeros_(self.network.out.bias)
        self.network.scale.copy_(self._scale)
        self.pass_ends()

    @override
    def pass_ends(self) -> None:
        self.network.fields.describe(self._item_features)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = self._people.batch(rows, self.device, generator)
        candidates = Candidates.of(batch, uniform(self.n_items, self.config.negatives, generator))
        own = torch.from_numpy(rows).to(self.device)
        people = self.network.fields.people(batch.shown, self._user_features.take(own)).sum(dim=1)
        items = self.network.fields.learnt(candidates.items, self._item_features).sum(dim=1)
        log_expected = torch.tensor(math.log(self.config.negatives / self.n_items), device=self.device)
        loss = candidates.loss(people @ items.T, batch, log_expected)
        if not self._rated or not len(batch.items):
            return loss
        wanted = (batch.values - self.network.scale[0]) / self.network.scale[1]
        asked = nn.functional.embedding(torch.searchsorted(candidates.items, batch.items), items)
        found = self.network(nn.functional.embedding(batch.rows, people), asked)
        return loss + self.config.rating_weight * (found - wanted).square().mean()

    @torch.no_grad()
    def ratings(self, contexts: Contexts) -> Tensor:
        """The ratings that the people of `contexts` would give to all items, float32 (B, I), in units of the data."""
        people, items = self.user_vectors(contexts), self.item_vectors()
        mean, spread = self.network.scale
        predicted = torch.empty(len(contexts), self.n_items, device=self.device)
        for block in in_blocks(len(contexts), self.n_items, self.config.dim):
            predicted[:, block] = mean + spread * self.network(people[:, None], items[block])
        return predicted

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        bags = BagStore(contexts.matrix(self.n_items)).all(self.device)
        return self.network.fields.people(bags, self._rows(contexts.features, len(contexts))).sum(dim=1)

    @override
    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        return self.network.fields.catalogue().sum(dim=1)

    def _rows(self, features: Features | None, count: int) -> SparseRows:
        if features is None:
            return SparseRows.empty(count, self.device)
        return SparseRows.of(features.offsets, features.buckets, features.weights, self.device)


def _mean_values(histories: Contexts, n_items: int) -> sparse.csr_matrix:
    """People x items, float32 (U, I); an entry is the mean value of the pair's events."""
    sums = histories.matrix(n_items, weighted=True)
    events = replace(histories, values=np.ones_like(histories.values)).matrix(n_items, weighted=True)
    sums.data = np.divide(sums.data, events.data)
    return sums
