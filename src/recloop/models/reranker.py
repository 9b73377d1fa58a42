"""What rankers over the candidates of another model have in common; each says how it judges a pair.

Covington, Adams and Sargin, "Deep neural networks for YouTube recommendations", RecSys 2016: one model finds a few
hundred candidates, another looks closely at them.
Shapes: B people or contexts, I items, U training people, D numbers of a field, C candidates of a person, P pairs, L
recent events.
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
from torch.nn.functional import embedding_bag
from typing_extensions import TypeVar, override

from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, TrainingData, silent
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.cuts import cut
from recloop.nn.fields import PairFields, SparseRows
from recloop.nn.fusion import standardised
from recloop.nn.histories import Bags, BagStore
from recloop.nn.reranking import Shortlist, best_unseen, choice_loss
from recloop.search import Choice, Real, Space, Whole

_KNOWN = ("fields.user_features.known", "fields.item_features.known")
_PREFIX = "candidates."
_PAIRS = 1 << 15
_DEVIATION = 0.01
_FOLDS = 2


class RerankerConfig(NeuralConfig):
    """Parameters that all rankers over candidates share.

    Attributes:
        candidates: the model that finds candidates, with its default parameters.
        n_candidates: items that are ranked for a person, not counting those of the history.
        dim: length of a field, D.
        layers: see the model.
        recent: last events that a field of their own is made of, L.
        cuts: how often each history is cut in a pass.

    A training example is one cut of one history.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "layers": Whole(1, 3),
        "recent": Whole(1, 10),
    }

    candidates: Literal["ease", "als", "item_knn", "popularity"] = "als"
    n_candidates: int = Field(default=100, ge=1)
    dim: int = Field(default=32, ge=1)
    layers: int = Field(default=2, ge=1)
    recent: int = Field(default=5, ge=1)
    cuts: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=30, ge=1)


class PairNetwork(nn.Module):
    """Judges pairs of a person and an item: by what finds candidates, corrected by what the fields say.

    Logit = ``a . x + correction(fields)``, where ``x`` are the two numbers of `_evidence` and ``a`` begins as
    (0, 1): in the order of what finds candidates.

    Args:
        n_items: I.
        dim: D.
        n_buckets: known buckets of people and of items.
    """

    FIELDS: ClassVar[int] = 6

    def __init__(self, n_items: int, dim: int, n_buckets: list[int]) -> None:
        super().__init__()
        self.fields = PairFields(n_items, dim, n_buckets)
        self.recent = nn.Embedding(n_items + 1, dim)
        self.evidence = nn.Linear(2, dim, bias=False)
        self.prior = nn.Parameter(torch.empty(2))

    def initialise(self, known: list[Tensor], generator: torch.Generator) -> None:
        """Give every parameter its first value; `known` as in `PairFields`."""
        self.fields.initialise(known, _DEVIATION, generator)
        for layer in (self.recent, self.evidence):
            nn.init.normal_(layer.weight, std=_DEVIATION, generator=generator)
        self.prior.copy_(torch.tensor([0.0, 1.0]))

    def people(self, bags: Bags, features: SparseRows, last: Tensor) -> Tensor:
        """The fields of people, (B, 3, D); `last` int64 (B, L) are their last items, I where there are fewer."""
        padding = self.recent.num_embeddings - 1
        recent = embedding_bag(last, self.recent.weight, mode="mean", padding_idx=padding)
        return torch.cat([self.fields.people(bags, features), recent[:, None]], dim=1)

    @override
    def forward(self, people: Tensor, items: Tensor, evidence: Tensor) -> Tensor:
        """Logits of pairs, (...), from the fields of people (..., 3, D) and items (..., 2, D) and evidence (..., 2)."""
        fields = torch.cat([people, items, self.evidence(evidence)[..., None, :]], dim=-2)
        return (evidence * self.prior).sum(dim=-1) + self.correction(fields)

    @abstractmethod
    def correction(self, fields: Tensor) -> Tensor:
        """What the fields of pairs, (..., 6, D), add to the logits, (...)."""


C_co = TypeVar("C_co", bound=RerankerConfig, default=RerankerConfig, covariant=True)
N = TypeVar("N", bound=PairNetwork, default=PairNetwork)


class Reranker(NeuralModel[C_co, N], Generic[C_co, N]):
    """A network's logits order the candidates of another model; a subclass says what the network is.

    Six fields describe a pair: the person's history, hashed features and last `recent` events (the mean of a vector of
    each), the item itself and its hashed features, and how good the model named by `candidates` finds it; a field of
    which nothing is known is 0. People are their histories, as in FISM (Kabbur et al., KDD 2013), so that people never
    seen are scored. Candidates are the first `n_candidates` of that model, and as many more as the history is long, so
    that enough remain when the seen ones are left out. They come first, by their logits; all other items follow in that
    model's order, each 1 lower than the one before. An empty history is the vector ``nobody``, with the candidates of
    nobody.

    Training cuts a history before one of its events, and asks which of the `n_candidates` unseen candidates that event
    was, by cross-entropy; where it was none of them there is nothing to learn. What finds these candidates has learned
    from people of other folds alone: had it seen the answer, its scores would look better than they are. What is asked
    for candidates later has learned from everybody. Events need no times: see `cut`.

    Attributes:
        n_buckets: how many hashed features of people and of items occur, for `new_network`.
    """

    takes = frozenset({"timestamps", "item_features", "user_features"})
    per_item = frozenset({"fields.history.items.weight", "fields.items.weight", "recent.weight"})
    n_buckets: list[int]

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        self._histories = data.histories
        count = len(data.histories)
        self._fold = np.random.default_rng(context.seed).permutation(count) % _FOLDS
        parts = [data.histories.take(np.flatnonzero(self._fold != fold)) for fold in range(_FOLDS)]
        self._others = [self._finder(replace(data, histories=part), context) for part in parts]
        self._generator = self._finder(data, context)
        self._user_features = self._rows(data.histories.features, count)
        self._item_features = self._rows(None if data.items is None else Features.from_frame(data.items), self.n_items)
        self._known = [rows.buckets.unique() for rows in (self._user_features, self._item_features)]
        self.n_buckets = [len(known) for known in self._known]
        return count * self.config.cuts

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        self.n_buckets = [len(self._tensor(tensors, name, (None,))) for name in _KNOWN]

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(self._known, generator)
        self.pass_ends()

    @override
    def pass_ends(self) -> None:
        self.network.fields.describe(self._item_features)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        rows = rows % len(self._histories)
        cuts = cut(self._histories.take(rows), generator)
        bags = BagStore(cuts.shown.matrix(self.n_items)).all(self.device)
        scores = self._found_by_others(cuts.shown, self._fold[rows])
        items, unseen = best_unseen(scores, bags.rows, bags.items, min(self.config.n_candidates, self.n_items))
        before = torch.arange(items.shape[1], device=self.device).expand_as(items)
        answers = torch.from_numpy(cuts.items).to(self.device)
        people = self._people(cuts.shown, bags, self._user_features.take(torch.from_numpy(rows).to(self.device)))
        logits = self.network(
            people[:, None].expand(-1, items.shape[1], -1, -1),
            self.network.fields.learnt(items, self._item_features),
            _evidence(standardised(scores).gather(1, items), before),
        )
        return choice_loss(logits, unseen, unseen & (items == answers[:, None]))

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        bags = BagStore(contexts.matrix(self.n_items)).all(self.device)
        counts = (self.config.n_candidates + bags.lengths).clamp(max=self.n_items)
        scores = self._generator.score(contexts)
        shortlist = Shortlist.of(scores, counts)
        rows, items = shortlist.pairs()
        evidence = _evidence(standardised(scores)[rows, items], shortlist.before(bags.rows, bags.items))
        people = self._people(contexts, bags, self._rows(contexts.features, len(contexts)))
        catalogue = self.network.fields.catalogue()
        parts = zip(rows.split(_PAIRS), items.split(_PAIRS), evidence.split(_PAIRS), strict=True)
        logits = [self.network(people[whose], catalogue[chosen], numbers) for whose, chosen, numbers in parts]
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

    def _finder(self, data: TrainingData, context: FitContext) -> Model:
        model = self._new_generator()
        model.fit(data, replace(context, progress=silent))
        return model

    @torch.no_grad()
    def _found_by_others(self, contexts: Contexts, folds: NDArray[np.int64]) -> Tensor:
        """Scores for people of these `folds` (B,), (B, I), by models that have learned from nobody of their fold."""
        scores = torch.empty(len(contexts), self.n_items, device=self.device)
        with torch.autocast(self.device.type, enabled=False):
            for fold in np.unique(folds):
                own = np.flatnonzero(folds == fold)
                scores[torch.from_numpy(own)] = self._others[fold].score(contexts.take(own))
        return scores

    def _people(self, contexts: Contexts, bags: Bags, features: SparseRows) -> Tensor:
        last = torch.from_numpy(contexts.padded(self.config.recent, self.n_items)).to(self.device)
        return self.network.people(bags, features, last)

    def _rows(self, features: Features | None, count: int) -> SparseRows:
        if features is None:
            return SparseRows.empty(count, self.device)
        return SparseRows.of(features.offsets, features.buckets, features.weights, self.device)


def _evidence(standard: Tensor, before: Tensor) -> Tensor:
    """What the model that finds candidates says of pairs, in two numbers whatever its scale, (..., 2).

    Args:
        standard: (...), the item's score, less the mean and over the deviation of all scores of the context.
        before: int64 (...), unseen items that stand before it, n; the second number is ``-log(1 + n)``.
    """
    return torch.stack([standard.float(), -before.float().log1p()], dim=-1)
