"""A network that learns to do without preferences: new items and new people are answered from their attributes.

Volkovs, Yu and Poutanen, "DropoutNet: addressing cold start in recommender systems", NIPS 2017.
Shapes: N rows, B people of a batch, C items of a batch, I items, D factors, F buckets of features, H hidden units.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.features import BUCKETS, Features
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.histories import BagStore, person_vectors
from recloop.nn.negatives import uniform
from recloop.nn.spectrum import preferences
from recloop.search import Choice, Real, Space

_AT_ONCE = 1 << 13
_NOTHING_KNOWN = 0.2


class DropoutNetConfig(NeuralConfig):
    """Parameters of `DropoutNet`.

    Attributes:
        factors: length of the preference vectors and of the answers, D.
        dim: hidden units, H.
        layers: hidden layers of each network.
        dropout: share of people, and of items, whose preference vector is set to zero in training.
        negatives: items drawn for each batch; if no more were ever taken, all of these.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "dropout": Real(0.1, 0.9),
    }

    factors: int = Field(default=64, ge=1)
    dim: int = Field(default=128, ge=1)
    layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    negatives: int = Field(default=2048, ge=1)
    learning_rate: float = Field(default=0.002, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=60, ge=1)


class _Tower(nn.Module):
    """``preference + network(preference, attributes)``."""

    def __init__(self, config: DropoutNetConfig) -> None:
        super().__init__()
        self.attributes = nn.Embedding(BUCKETS, config.dim)
        self.preference = nn.Linear(config.factors, config.dim)
        self.hidden = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(config.layers - 1))
        self.answer = nn.Linear(config.dim, config.factors)

    @override
    def forward(self, preference: Tensor, attributes: Features, known: Tensor | None = None) -> Tensor:
        """Vectors (N, D) for preference vectors (N, D) and attributes of N rows, of which `known` (N,) may be used."""
        device = preference.device
        state = self.preference(preference)
        if len(attributes.buckets):
            sums = nn.functional.embedding_bag(
                torch.from_numpy(attributes.buckets).to(device),
                self.attributes.weight,
                torch.from_numpy(attributes.offsets).to(device),
                mode="sum",
                per_sample_weights=torch.from_numpy(attributes.weights).to(device),
                include_last_offset=True,
            )
            state = state + (sums if known is None else sums * known[:, None])
        for layer in self.hidden:
            state = layer(torch.tanh(state))
        return preference + self.answer(torch.tanh(state))


class _Network(nn.Module):
    """A tower for people and one for items; what a history is summed of, and the items' finished vectors."""

    taken: Tensor
    items: Tensor

    def __init__(self, config: DropoutNetConfig, n_items: int) -> None:
        super().__init__()
        self.people = _Tower(config)
        self.things = _Tower(config)
        self.register_buffer("taken", torch.empty(n_items, config.factors))
        self.register_buffer("items", torch.empty(n_items, config.factors))

    def initialise(self, generator: torch.Generator) -> None:
        """Weights by their number of inputs, small attributes, zero biases; at first, answers are the preferences."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1 or "answer" in name:
                nn.init.zeros_(parameter)
            else:
                std = 0.1 if "attributes" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std, generator=generator)


class DropoutNet(NeuralModel[DropoutNetConfig, _Network]):
    """Score = ``f(p, x) . g(q_i, y_i)`` for a person's preference and attributes, and an item's.

    ``q_i`` (D,) is item i's preference vector, 0 where nobody took it; ``p`` (D,) is the sum of what the items of the
    history stand for, over the root of their number, 0 for an empty history: both come from the leading singular
    vectors of the training matrix, see `nn.spectrum`. ``x`` and ``y_i`` are the hashed attributes. ``f`` and ``g`` add
    the answer of a network to the preference. They minimise the mean of ``(f . g - p . q)^2`` over people and items
    that somebody took, with the preference of about half of them set to zero, so that they learn to make up for it from
    attributes.
    People without history are answered from their attributes, and where these are unknown too, from what is best for
    people of whom nothing is known, which training shows as well.

    The paper takes preferences from any factorisation with a vector for each person, and hands the mean of item vectors
    to people who come later; here everybody is the sum of the history from the start. The paper's networks return the
    vectors, here what is to be added to the preference, so that nothing is lost where preferences are known. Pairs are
    all people of a batch with all items of a batch. Items' finished vectors are kept for scoring.
    """

    Config = DropoutNetConfig
    needs = frozenset({"item_features"})
    takes = frozenset({"user_features"})
    cold_items = True

    @property
    @override
    def no_warm_start(self) -> str | None:
        return "the preference vectors that it reads are computed anew from the data, in directions of their own"

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        assert data.items is not None
        histories = data.histories.take(np.flatnonzero(data.histories.lengths))
        matrix = histories.matrix(self.n_items)
        taken, wanted = preferences(matrix, self.config.factors, np.random.default_rng(context.seed))
        self._people = BagStore(matrix)
        self._learnable = torch.from_numpy(np.unique(matrix.indices).astype(np.int64)).to(self.device)
        self._people_attributes = histories.features or Features.empty(len(histories))
        self._item_attributes = Features.from_frame(data.items)
        people = person_vectors(torch.from_numpy(taken), self._people.all(torch.device("cpu")))
        self._taken = (torch.from_numpy(taken) / _size(people)).to(self.device)
        wanted = torch.from_numpy(wanted)
        self._wanted = (wanted / _size(wanted)).to(self.device)
        return len(histories)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)
        self.network.taken.copy_(self._taken)
        self.pass_ends()

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        items = self._learnable
        if len(items) > self.config.negatives:
            items = items[uniform(len(items), self.config.negatives, generator)]
        people = person_vectors(self._taken, self._people.batch(rows, self.device))
        wanted = self._wanted[items]
        target = people @ wanted.T
        draws = torch.rand(2, len(rows), device=self.device, generator=generator)
        kept = draws[0] >= self.config.dropout
        known = kept | (draws[1] >= _NOTHING_KNOWN)
        shown = torch.rand(len(items), device=self.device, generator=generator) >= self.config.dropout
        answers = self.network.people(people * kept[:, None], self._people_attributes.take(rows), known)
        things = self.network.things(wanted * shown[:, None], self._item_attributes.take(items.cpu().numpy()))
        return (answers @ things.T - target).square().mean() / self.config.factors

    @override
    def pass_ends(self) -> None:
        for part in torch.arange(self.n_items, device=self.device).split(_AT_ONCE):
            attributes = self._item_attributes.take(part.cpu().numpy())
            self.network.items[part] = self.network.things(self._wanted[part], attributes)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        bags = BagStore(contexts.matrix(self.n_items)).all(self.device)
        attributes = contexts.features or Features.empty(len(contexts))
        return self.network.people(person_vectors(self.network.taken, bags), attributes)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items


def _size(vectors: Tensor) -> float:
    """Root mean square of the numbers in `vectors`, at least a tiny one."""
    return max(float(vectors.square().mean().sqrt()), torch.finfo(torch.float32).tiny) if len(vectors) else 1.0
