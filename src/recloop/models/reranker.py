"""What rankers over the candidates of another model have in common; each says how it judges a pair.

Covington, Adams and Sargin, "Deep neural networks for YouTube recommendations", RecSys 2016: one model finds a few
hundred candidates, another looks closely at them.
Shapes: B people or contexts, I items, U training people, D numbers of a field, T items to predict, P pairs.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Generic, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypeVar, override

from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, TrainingData, silent
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.fields import PairFields, SparseRows
from recloop.nn.histories import BagStore
from recloop.nn.holdouts import HoldoutStore, log_loss
from recloop.nn.negatives import Unseen
from recloop.nn.reranking import Shortlist, best_unseen
from recloop.search import Choice, Real, Space, Whole

_KNOWN = ("fields.user_features.known", "fields.item_features.known")
_PREFIX = "candidates."
_PEOPLE, _PAIRS = 256, 1 << 15


class RerankerConfig(NeuralConfig):
    """Parameters that all rankers over candidates share.

    Attributes:
        candidates: the model that finds candidates, with its default parameters.
        n_candidates: items that are ranked for a person, not counting those of the history.
        dim: length of a field, D.
        layers: see the model.
        negatives: items drawn for each item to predict: half of them candidates of the person, the others any; all
            not taken.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "layers": Whole(1, 3),
    }

    candidates: Literal["ease", "als", "item_knn", "popularity"] = "als"
    n_candidates: int = Field(default=200, ge=1)
    dim: int = Field(default=32, ge=1)
    layers: int = Field(default=2, ge=1)
    negatives: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=30, ge=1)


class PairNetwork(nn.Module):
    """Judges pairs of a person and an item by their fields.

    Attributes:
        fields: of both sides of a pair.
    """

    fields: PairFields

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Give every parameter but those of `fields` its first value."""


C_co = TypeVar("C_co", bound=RerankerConfig, default=RerankerConfig, covariant=True)
N = TypeVar("N", bound=PairNetwork, default=PairNetwork)


class Reranker(NeuralModel[C_co, N], Generic[C_co, N]):
    """A network's logits order the candidates of another model; a subclass says what the network is.

    Four fields describe a pair: the person's history and hashed features, the item itself and its hashed features; a
    field of which nothing is known is 0. People are their histories, as in FISM (Kabbur et al., KDD 2013), so that
    people never seen are scored. Candidates are the first `n_candidates` of the model named by `candidates`, and as
    many more as the history is long, so that enough remain when the seen ones are left out. They come first, by their
    logits; all other items follow in that model's order, each 1 lower than the one before. An empty history is the
    vector ``nobody``, with the candidates of nobody.

    Training shows a random part of each history and predicts the rest, by log loss against `negatives` items for each.
    The candidates of training people are found once, by a model that has learned from all of their events.

    Attributes:
        n_buckets: how many hashed features of people and of items occur, for `new_network`.
    """

    takes = frozenset({"item_features", "user_features"})
    n_buckets: list[int]

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._people = HoldoutStore(matrix)
        taken = BagStore(matrix).all(self.device)
        self._unseen = Unseen(taken.rows, taken.items, self.n_items, self.device)
        self._generator = self._new_generator()
        self._generator.fit(data, replace(context, progress=silent))
        self._shortlists = self._found(data.histories)
        self._user_features = self._rows(data.histories.features, len(data.histories))
        self._item_features = self._rows(None if data.items is None else Features.from_frame(data.items), self.n_items)
        self._known = [rows.buckets.unique() for rows in (self._user_features, self._item_features)]
        self.n_buckets = [len(known) for known in self._known]
        return len(self._people)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        self.n_buckets = [len(self._tensor(tensors, name, (None,))) for name in _KNOWN]

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.fields.initialise(self._known, 0.1, generator)
        self.network.initialise(generator)
        self.pass_ends()

    @override
    def pass_ends(self) -> None:
        self.network.fields.describe(self._item_features)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = self._people.batch(rows, self.device, generator)
        own = torch.from_numpy(rows).to(self.device)
        items = torch.cat([batch.items[:, None], self._negatives(own[batch.rows], generator)], dim=1)
        fields = self.network.fields
        people = fields.people(batch.shown, self._user_features.take(own)).flatten(1)
        asked = nn.functional.embedding(batch.rows, people).unflatten(1, (2, -1))
        logits = self.network(
            asked[:, None].expand(-1, items.shape[1], -1, -1), fields.learnt(items, self._item_features)
        )
        return log_loss(logits[:, 0], logits[:, 1:])

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        bags = BagStore(contexts.matrix(self.n_items)).all(self.device)
        counts = (self.config.n_candidates + bags.lengths).clamp(max=self.n_items)
        shortlist = Shortlist.of(self._generator.score(contexts), counts)
        people = self.network.fields.people(bags, self._rows(contexts.features, len(contexts)))
        items = self.network.fields.catalogue()
        parts = zip(*(part.split(_PAIRS) for part in shortlist.pairs()), strict=True)
        logits = [self.network(people[rows], items[chosen]) for rows, chosen in parts]
        return shortlist.scores(torch.cat(logits))

    @override
    def tensors(self) -> dict[str, Tensor]:
        found = {_PREFIX + name: tensor for name, tensor in self._generator.tensors().items()}
        return super().tensors() | found

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._generator = self._new_generator()
        self._generator.load_tensors(
            {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
        )
        super().load_tensors(tensors)

    def _new_generator(self) -> Model:
        from recloop.models import find

        kind = find(self.config.candidates)
        return kind(kind.Config(), self.n_items, self.device)

    def _found(self, histories: Contexts) -> tuple[Tensor, Tensor]:
        """The candidates of all training people, int32 (U, n_candidates), and how many each has, int64 (U,)."""
        count = min(self.config.n_candidates, self.n_items)
        chosen = [torch.empty(0, count, dtype=torch.int32, device=self.device)]
        numbers = [torch.empty(0, dtype=torch.int64, device=self.device)]
        for start in range(0, len(histories), _PEOPLE):
            some = histories.take(np.arange(start, min(start + _PEOPLE, len(histories))))
            bags = BagStore(some.matrix(self.n_items)).all(self.device)
            best, number = best_unseen(self._generator.score(some), bags.rows, bags.items, count)
            chosen.append(best.int())
            numbers.append(number)
        return torch.cat(chosen), torch.cat(numbers)

    def _negatives(self, whose: Tensor, generator: torch.Generator) -> Tensor:
        """Items that the people `whose` int64 (T,) have not taken, int64 (T, negatives): candidates, then any."""
        found, numbers = self._shortlists
        hard = (self.config.negatives + 1) // 2
        draws = torch.rand(len(whose), hard, generator=generator, device=self.device)
        chosen = found[whose[:, None], (draws * numbers[whose, None]).long()].long()
        return torch.cat([chosen, self._unseen.draw(whose, self.config.negatives - hard, generator)], dim=1)

    def _rows(self, features: Features | None, count: int) -> SparseRows:
        if features is None:
            return SparseRows.empty(count, self.device)
        return SparseRows.of(features.offsets, features.buckets, features.weights, self.device)
