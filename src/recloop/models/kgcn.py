"""KGCN: an item is what its neighbours in a knowledge graph say about it, weighed by what a person cares for.

Wang et al., "Knowledge graph convolutional networks for recommender systems", WWW 2019.
Shapes: B people, A candidate lists (one for all people, or one each), C candidates, I items, E entities, K neighbours,
D dimensions, R relations, n entities of a hop.
"""

from collections.abc import Mapping
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
from recloop.nn.histories import BagStore, HistoryEncoder
from recloop.search import Choice, Real, Space, Whole

_CHUNK = 1 << 23


class KGCNConfig(NeuralConfig):
    """Parameters of `KGCN`.

    Attributes:
        dim: length of the vectors, D.
        layers: hops in the graph that an item looks around; work grows with ``neighbors ** layers``.
        neighbors: neighbours of an entity that are looked at, K, drawn once.
        hidden: share of the events that a pass hides and asks for.
        negatives: items that the loss compares with: all where there are no more, else so many drawn for each batch.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "layers": Whole(1, 2),
        "neighbors": Choice((4, 8, 16)),
    }

    dim: int = Field(default=32, ge=1)
    layers: int = Field(default=1, ge=1)
    neighbors: int = Field(default=8, ge=1)
    hidden: float = Field(default=0.3, gt=0, lt=1)
    negatives: int = Field(default=512, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)


class _Network(nn.Module):
    """Vectors of people's items, of entities and of relations, and the neighbours that were drawn."""

    neighbours: Tensor
    relations: Tensor
    popularity: Tensor

    def __init__(self, config: KGCNConfig, n_items: int, n_entities: int, n_relations: int) -> None:
        super().__init__()
        self.people = HistoryEncoder(n_items, config.dim)
        self.entities = nn.Embedding(n_entities, config.dim)
        self.kinds = nn.Embedding(n_relations + 1, config.dim)
        self.mix = nn.ParameterList(torch.empty(config.dim, config.dim) for _ in range(config.layers))
        self.shift = nn.Parameter(torch.empty(config.layers, config.dim))
        self.bias = nn.Embedding(n_items, 1)
        self.register_buffer("neighbours", torch.empty(n_entities, config.neighbors, dtype=torch.int64))
        self.register_buffer("relations", torch.empty(n_entities, config.neighbors, dtype=torch.int64))
        self.register_buffer("popularity", torch.empty(n_items))

    @override
    def forward(self, people: Tensor, items: Tensor) -> Tensor:
        """Scores (B, C) of `items` int64 (A, C), A being 1 or B, for `people` (B, D)."""
        care = people @ self.kinds.weight.T
        entities = items[:, :, None]
        states, weights = [self.entities(entities)], list[Tensor]()
        for _ in self.mix:
            kinds = self.relations[entities]
            cared = care.gather(1, kinds.flatten(1).expand(len(people), -1))
            weights.append(cared.view(-1, *kinds.shape[1:]).softmax(dim=3))
            entities = self.neighbours[entities].flatten(2)
            states.append(self.entities(entities))
        for step, weight in enumerate(self.mix):
            turned = [state @ weight.T for state in states]
            around = (
                torch.einsum("bcnk,bcnkd->bcnd", share, outer.unflatten(2, share.shape[2:]))
                for share, outer in zip(weights, turned[1:], strict=False)
            )
            act = torch.tanh if step == len(self.mix) - 1 else torch.relu
            states = [act(own + near + self.shift[step]) for own, near in zip(turned, around, strict=False)]
        return torch.einsum("bcd,bd->bc", states[0][:, :, 0], people) + self.bias(items)[:, :, 0]


class KGCN(NeuralModel[KGCNConfig, _Network]):
    """Scores = ``p . v_i(p) + b_i`` for a person's vector ``p`` (D,), with an item vector that depends on the person.

    ``p`` is `HistoryEncoder` of the history. With entity vectors ``e`` and relation vectors ``r``, one layer gives
    ``v_i(p) = tanh(W (e_i + sum_k a_k e_k) + b)`` over the K neighbours of the item, where
    ``a = softmax_k(p . r_k)``: how much this person cares for the relation that leads to the neighbour. Further layers
    do the same for the neighbours first, with a rectifier in place of the tangent. An item that the graph does not
    mention is its own neighbour by a relation of its own. An empty history gets each item's number of users.

    Unlike in the paper, people have no vectors of their own, items have a bias, each pass hides a share of the events
    and predicts those from the rest, and the loss is the softmax over many items instead of one sampled negative.
    Every score is computed for itself, so they do not factorise: ranking costs ``I K D`` a person.
    """

    Config = KGCNConfig
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
        entities = self._tensor(tensors, "entities.weight", (None, self.config.dim))
        kinds = self._tensor(tensors, "kinds.weight", (None, self.config.dim))
        self._sizes = len(entities), len(kinds) - 1

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, *self._sizes)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        network = self.network
        for name, parameter in network.named_parameters():
            if name.startswith("mix"):
                nn.init.xavier_uniform_(parameter, generator=generator)
            elif name in {"shift", "bias.weight"}:
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.1, generator=generator)
        neighbours, relations = sampled_neighbours(self._knowledge, self.config.neighbors, generator)
        network.neighbours.copy_(neighbours)
        network.relations.copy_(relations)
        network.popularity.copy_(torch.from_numpy(self._popularity))

    @override
    def pass_begins(self, generator: torch.Generator) -> None:
        self._events.draw(self.config.hidden, generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        questions = self._events.batch(rows, self.config.negatives, generator)
        people = self.network.people(questions.visible)
        scores = self.network(people, questions.candidates[None])
        positives = self.network(people.index_select(0, questions.rows), questions.targets[:, None])[:, 0]
        return completion_loss(scores, positives, questions)

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        people = self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))
        scores = torch.empty(len(people), self.n_items, device=self.device)
        reach = self.config.neighbors**self.config.layers
        items = torch.arange(self.n_items, device=self.device).split(max(1, _CHUNK // (reach * self.config.dim)))
        most = max(1, _CHUNK // (len(items[0]) * max(self.config.dim, reach)))
        for some in items:
            for start in range(0, len(people), most):
                scores[start : start + most, some] = self.network(people[start : start + most], some[None])
        return answer_nobody(scores, contexts, self.network.popularity)
