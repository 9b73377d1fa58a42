"""RippleNet: what a person likes spreads from the items of the history through a knowledge graph, like rings on water.

Wang et al., "RippleNet: propagating user preferences on the knowledge graph for recommender systems", CIKM 2018.
Shapes: B people, A candidate lists (one for all people, or one each), C candidates, I items, E entities, H hops,
W walks from an item, M triples of a hop, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData, answer_nobody
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.graph import sampled_neighbours
from recloop.nn.hiding import HiddenEvents, completion_loss
from recloop.nn.histories import Bags, BagStore
from recloop.search import Choice, Real, Space, Whole

_CHUNK = 1 << 23
_NONE = -1e9


class RippleNetConfig(NeuralConfig):
    """Parameters of `RippleNet`.

    Attributes:
        dim: length of the vectors, D.
        hops: how far interests spread, H; 0 leaves the items of the history alone.
        walks: random walks kept for each item, W: the paths on which interest in it spreads.
        ripple_size: most items of a history, and most triples of a hop, that are looked at, M.
        kge_weight: of the loss that makes triples of the graph likely.
        hidden: share of the events that a pass hides and asks for.
        negatives: items that the loss compares with: all where there are no more, else so many drawn for each batch.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "hops": Whole(1, 3),
    }

    dim: int = Field(default=32, ge=1)
    hops: int = Field(default=2, ge=0)
    walks: int = Field(default=8, ge=1)
    ripple_size: int = Field(default=32, ge=1)
    kge_weight: float = Field(default=0.01, ge=0)
    hidden: float = Field(default=0.3, gt=0, lt=1)
    negatives: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)


@dataclass(frozen=True, kw_only=True)
class _Ripple:
    """The triples of one hop of B people, padded to M of each.

    Attributes:
        keys: ``R h`` of relation and head, (B, M, D).
        tails: (B, M, D).
        present: bool (B, M), false where padded.
    """

    keys: Tensor
    tails: Tensor
    present: Tensor


class _Network(nn.Module):
    """Vectors of entities, a matrix for each relation, and the walks of items."""

    walks: Tensor
    relations: Tensor
    popularity: Tensor

    def __init__(self, config: RippleNetConfig, n_items: int, n_entities: int, n_relations: int) -> None:
        super().__init__()
        self.size = config.ripple_size
        self.entities = nn.Embedding(n_entities, config.dim)
        self.kinds = nn.Parameter(torch.empty(n_relations + 2, config.dim, config.dim))
        self.bias = nn.Embedding(n_items, 1)
        self.register_buffer("walks", torch.empty(n_items, config.hops + 1, config.walks, dtype=torch.int64))
        self.register_buffer("relations", torch.empty(n_items, config.hops, config.walks, dtype=torch.int64))
        self.register_buffer("popularity", torch.empty(n_items))

    def ripples(self, bags: Bags) -> list[_Ripple]:
        """The history itself, then one ripple for each hop."""
        items, _, present = spread(bags, 1, self.size)
        found = [self._ripple(items, torch.full_like(items, len(self.kinds) - 1), items, present)]
        items, walk, present = spread(bags, self.walks.shape[2], self.size)
        for hop in range(self.relations.shape[1]):
            heads, tails = self.walks[items, hop, walk], self.walks[items, hop + 1, walk]
            found.append(self._ripple(heads, self.relations[items, hop, walk], tails, present))
        return found

    @override
    def forward(self, ripples: list[_Ripple], items: Tensor) -> Tensor:
        """Scores (B, C) of `items` int64 (A, C), A being 1 or B."""
        own = self.entities(items)
        query, person = own, own.new_zeros(())
        for ripple in ripples:
            likeness = (query @ ripple.keys.mT).masked_fill(~ripple.present[:, None, :], _NONE)
            answer = (likeness.softmax(dim=2) * ripple.present[:, None, :]) @ ripple.tails
            query, person = query + answer, person + answer
        return (person * own).sum(dim=2) + self.bias(items)[:, :, 0]

    def _ripple(self, heads: Tensor, relations: Tensor, tails: Tensor, present: Tensor) -> _Ripple:
        turns = nn.functional.embedding(relations, self.kinds.flatten(1)).unflatten(2, self.kinds.shape[1:])
        keys = (turns @ self.entities(heads)[:, :, :, None])[:, :, :, 0]
        return _Ripple(keys=keys, tails=self.entities(tails), present=present)


class RippleNet(NeuralModel[RippleNetConfig, _Network]):
    """Scores = ``v . (o_0 + o_1 + .. + o_H) + b`` for the item's vector ``v`` (D,) and what the ripples answer.

    Ripple 0 is the history itself; ripple k holds triples (h, r, t) that lie k steps from it in the graph. It answers
    the query ``q_k`` with ``o_k = sum_m a_m t_m``, ``a = softmax_m(q_k . R_m h_m)``; ``q_0 = v`` and
    ``q_(k+1) = q_k + o_k``. The triples lie on random walks that are drawn once for each item; of those of a history
    `ripple_size`, evenly spaced, are looked at. An empty history gets each item's number of users.

    Unlike in the paper, the history itself is a ripple, since two items that the same people took need not be near in
    the graph; items have a bias; each pass hides a share of the events and predicts those from the rest; and the loss
    is the softmax over many items instead of one sampled negative. A person's vector depends on the item, so scores do
    not factorise: ranking costs ``I M D (H + 1)`` a person.
    """

    Config = RippleNetConfig
    needs = frozenset({"knowledge"})

    @property
    @override
    def no_warm_start(self) -> str | None:
        return "entities that are no items have no ids in a stored model"

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        assert data.knowledge is not None
        self._knowledge = data.knowledge
        self._sizes = data.knowledge.n_entities, data.knowledge.n_relations
        matrix = data.histories.matrix(self.n_items)
        self._popularity = np.bincount(matrix.indices, minlength=self.n_items)
        self._events = HiddenEvents(matrix, self.device)
        return len(data.histories)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        dim = self.config.dim
        entities = self._tensor(tensors, "entities.weight", (None, dim))
        self._sizes = len(entities), len(self._tensor(tensors, "kinds", (None, dim, dim))) - 2

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, *self._sizes)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        network = self.network
        nn.init.normal_(network.entities.weight, std=0.1, generator=generator)
        nn.init.normal_(network.kinds, std=0.1 / self.config.dim**0.5, generator=generator)
        network.kinds.add_(torch.eye(self.config.dim, device=self.device))
        nn.init.zeros_(network.bias.weight)
        neighbours, relations = sampled_neighbours(self._knowledge, self.config.walks, generator)
        neighbours, relations = neighbours.to(self.device), relations.to(self.device)
        walk = torch.arange(self.config.walks, device=self.device)
        network.walks[:, 0] = torch.arange(self.n_items, device=self.device)[:, None]
        for hop in range(self.config.hops):
            here = network.walks[:, hop]
            step = walk.expand_as(here)
            if hop:
                step = torch.randint(len(walk), here.shape, generator=generator, device=self.device)
            network.walks[:, hop + 1] = neighbours[here, step]
            network.relations[:, hop] = relations[here, step]
        network.popularity.copy_(torch.from_numpy(self._popularity))

    @override
    def pass_begins(self, generator: torch.Generator) -> None:
        self._events.draw(self.config.hidden, generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        questions = self._events.batch(rows, self.config.negatives, generator)
        ripples = self.network.ripples(questions.visible)
        scores = self.network(ripples, questions.candidates[None])
        own, places = by_person(questions.rows, questions.targets, len(rows))
        positives = self.network(ripples, own).flatten().index_select(0, places)
        likely = [torch.sigmoid((ripple.keys * ripple.tails).sum(dim=2)).sum() for ripple in ripples[1:]]
        n_triples = max(1, sum(ripple.present.numel() for ripple in ripples[1:]))
        return completion_loss(scores, positives, questions) - self.config.kge_weight * sum(likely) / n_triples

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        scores = torch.empty(len(contexts), self.n_items, device=self.device)
        store = BagStore(contexts.matrix(self.n_items))
        items = torch.arange(self.n_items, device=self.device).split(max(1, _CHUNK // self.config.ripple_size))
        most = max(1, _CHUNK // (len(items[0]) * max(self.config.ripple_size, self.config.dim)))
        for start in range(0, len(contexts), most):
            rows = np.arange(start, min(start + most, len(contexts)))
            ripples = self.network.ripples(store.batch(rows, self.device))
            for some in items:
                scores[start : start + most, some] = self.network(ripples, some[None])
        return answer_nobody(scores, contexts, self.network.popularity)


def spread(bags: Bags, copies: int, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """At most `most` of the `copies` of each event of B people, evenly spaced.

    Returns:
        The item and the number of the copy, int64 (B, M) each, and which are there, bool (B, M); M is at least 1.
    """
    wanted = bags.lengths * copies
    kept = wanted.clamp(max=most)
    width = max(1, int(kept.max())) if len(kept) else 1
    position = torch.arange(width, device=kept.device)
    present = position < kept[:, None]
    chosen = position * wanted[:, None] // kept[:, None].clamp(min=1)
    event = (bags.offsets[:-1, None] + chosen // copies) * present
    items = bags.items[event] if len(bags.items) else torch.zeros_like(event)
    return items, chosen % copies, present


def by_person(rows: Tensor, items: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """N items as a padded table of the people they belong to.

    Args:
        rows: int64 (N,), the person of each, ascending.
        items: int64 (N,).
        count: people, B.

    Returns:
        The table, int64 (B, C) with C at least 1, and where in the flattened table each item stands, int64 (N,).
    """
    counts = torch.bincount(rows, minlength=count)
    width = max(1, int(counts.max())) if count else 1
    position = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    places = rows * width + position
    table = torch.zeros(count * width, dtype=torch.int64, device=rows.device)
    table[places] = items
    return table.view(count, width), places
