"""Two towers: one makes a vector of a person, one of an item, from what is known of each; their product is the score.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019.
Shapes: B people or contexts, I items, D dimensions, T items to predict, S sampled items.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize
from typing_extensions import override

from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.fields import FeatureVectors, Perceptron, SparseRows
from recloop.nn.histories import Bags, BagStore, HistoryEncoder
from recloop.nn.holdouts import Candidates, HoldoutStore
from recloop.nn.negatives import uniform
from recloop.search import Choice, Real, Space

_KNOWN = ("user_features.known", "item_features.known")


class TwoTowerConfig(NeuralConfig):
    """Parameters of `TwoTower`.

    Attributes:
        dim: length of the vectors, D.
        layers: hidden layers of either tower, each D wide; 0 adds up what is known.
        temperature: what the cosine of person and item is divided by.
        sampling: what a target is compared with: the other targets of the batch (``in_batch``), as in the paper, or
            `negatives` items drawn with equal chances (``uniform``).
        negatives: items drawn for each batch, S, for ``uniform``.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "temperature": Real(0.03, 1.0, log=True),
    }

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=0, ge=0)
    temperature: float = Field(default=0.1, gt=0)
    sampling: Literal["in_batch", "uniform"] = "in_batch"
    negatives: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=40, ge=1)


class _Network(nn.Module):
    """Both towers; `vectors` holds what the items' tower makes of the catalogue."""

    def __init__(self, config: TwoTowerConfig, n_items: int, n_user_buckets: int, n_item_buckets: int) -> None:
        super().__init__()
        self.history = HistoryEncoder(n_items, config.dim)
        self.nobody = nn.Parameter(torch.empty(config.dim))
        self.user_features = FeatureVectors(n_user_buckets, config.dim)
        self.user_tower = Perceptron(config.dim, config.dim, config.layers)
        self.user_out = nn.Linear(config.dim, config.dim, bias=False)
        self.items = nn.Embedding(n_items, config.dim)
        self.item_features = FeatureVectors(n_item_buckets, config.dim)
        self.item_tower = Perceptron(config.dim, config.dim, config.layers)
        self.item_out = nn.Linear(config.dim, config.dim, bias=False)
        self.vectors = nn.Buffer(torch.empty(n_items, config.dim))
        self.scale = config.temperature**-0.5

    def people(self, bags: Bags, features: SparseRows) -> Tensor:
        """Vectors of people, (B, D)."""
        known = self.nobody + self.history(bags) + self.user_features(features)
        return self.scale * normalize(known + self.user_out(self.user_tower(known)), dim=1)

    @override
    def forward(self, items: Tensor, features: SparseRows) -> Tensor:
        """Vectors of `items` int64 (S,) with their `features`, (S, D)."""
        known = self.items(items) + self.item_features(features)
        return self.scale * normalize(known + self.item_out(self.item_tower(known)), dim=1)


class TwoTower(NeuralModel[TwoTowerConfig, _Network]):
    """Score of item i = ``cos(p, q_i) / temperature``.

    ``p`` comes from ``x = nobody + n^-0.5 * (sum of vectors of the n items of the history) + (sum of vectors of the
    person's hashed features)``, ``q_i`` from ``x = (item's own vector) + (sum of vectors of its hashed features)``. A
    tower gives ``x + W relu(... x ...)``. The paper learns one vector a user and concatenates; here people are their
    histories, as in FISM (Kabbur et al., KDD 2013), so that people never seen are scored. An empty history without
    features gets what the tower makes of ``nobody``.

    Training shows a random part of each history and predicts the rest by a softmax over sampled items. ``log(chance)``
    of being sampled is taken off each sampled logit (logQ correction): of a batch's targets, it is the item's share of
    all training events, which is counted, where the paper estimates it from a stream. A sampled item that equals the
    target, or that is another target of the same person, is left out.
    """

    Config = TwoTowerConfig
    per_item = frozenset({"history.items.weight", "items.weight"})
    takes = frozenset({"item_features", "user_features"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._people = HoldoutStore(matrix)
        counts = np.bincount(matrix.indices, minlength=self.n_items)
        shares = np.maximum(counts, 1) / max(1, counts.sum())
        self._log_shares = torch.from_numpy(np.log(shares).astype(np.float32)).to(self.device)
        self._user_features = self._rows(data.histories.features, len(data.histories))
        items = None if data.items is None else Features.from_frame(data.items)
        self._item_features = self._rows(items, self.n_items)
        self._known = [rows.buckets.unique() for rows in (self._user_features, self._item_features)]
        self._sizes = [len(known) for known in self._known]
        return len(self._people)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, *self._sizes)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        self._sizes = [len(self._tensor(tensors, name, (None,))) for name in _KNOWN]

    @override
    def initialise(self, generator: torch.Generator) -> None:
        network = self.network
        for vectors in (network.history.items.weight, network.nobody, network.items.weight):
            nn.init.normal_(vectors, std=0.1, generator=generator)
        for features, known in zip((network.user_features, network.item_features), self._known, strict=True):
            features.initialise(known, 0.1, generator)
        for tower, out in ((network.user_tower, network.user_out), (network.item_tower, network.item_out)):
            tower.initialise(generator)
            nn.init.normal_(out.weight, std=0.1 * self.config.dim**-0.5, generator=generator)
        self.pass_ends()

    @override
    def pass_ends(self) -> None:
        items = torch.arange(self.n_items, device=self.device)
        self.network.vectors.copy_(self.network(items, self._item_features))

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = self._people.batch(rows, self.device, generator)
        own = torch.from_numpy(rows).to(self.device)
        people = self.network.people(batch.shown, self._user_features.take(own))
        if self.config.sampling == "in_batch":
            candidates = Candidates.of(batch, batch.items)
            log_expected = self._log_shares[candidates.items] + math.log(max(1, len(batch.items)))
        else:
            candidates = Candidates.of(batch, uniform(self.n_items, self.config.negatives, generator))
            log_expected = torch.tensor(math.log(self.config.negatives / self.n_items), device=self.device)
        items = self.network(candidates.items, self._item_features.take(candidates.items))
        return candidates.loss(people @ items.T, batch, log_expected)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        bags = BagStore(contexts.matrix(self.n_items)).all(self.device)
        return self.network.people(bags, self._rows(contexts.features, len(contexts)))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.vectors

    def _rows(self, features: Features | None, count: int) -> SparseRows:
        if features is None:
            return SparseRows.empty(count, self.device)
        return SparseRows.of(features.offsets, features.buckets, features.weights, self.device)
