"""KGAT: people, items and entities in one graph, in which each node listens most to the neighbours it is closest to.

Wang et al., "KGAT: knowledge graph attention network for recommendation", KDD 2019.
Shapes: B contexts, I items, E entities (items first), U people, V = E + U nodes, T edges, R relations, D dimensions,
L layers, N events of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.graph import SparseProduct
from recloop.nn.hiding import HiddenEvents, completion_loss
from recloop.nn.histories import Bags, BagStore
from recloop.search import Choice, Real, Space, Whole


class KGATConfig(NeuralConfig):
    """Parameters of `KGAT`.

    Attributes:
        dim: length of the vectors of each layer, D; scores compare ``D (layers + 1)`` numbers.
        layers: steps of propagation, L.
        dropout: share of each layer's activations set to zero in training.
        kge_weight: of the loss that makes edges of the graph likely.
        kge_batch: edges drawn for it in each step.
        hidden: share of the events that a pass hides from the graph and asks for.
        negatives: items that the loss compares with: all where there are no more, else so many drawn for each batch.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "layers": Whole(1, 3),
    }

    dim: int = Field(default=32, ge=1)
    layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    kge_weight: float = Field(default=0.1, ge=0)
    kge_batch: int = Field(default=1024, ge=1)
    hidden: float = Field(default=0.3, gt=0, lt=1)
    negatives: int = Field(default=4096, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=30, ge=1)


@dataclass(frozen=True, kw_only=True)
class Edges:
    """T edges of the graph of people, items and entities, sorted by head; who hears what, by which relation.

    Attributes:
        heads: int64 (T,), nodes that listen.
        relations: int64 (T,).
        tails: int64 (T,), nodes that are heard.
        n_nodes: V.
    """

    heads: NDArray[np.int64]
    relations: NDArray[np.int64]
    tails: NDArray[np.int64]
    n_nodes: int

    @classmethod
    def of(cls, knowledge: Knowledge, taken: sparse.csr_matrix) -> "Edges":
        """All triples and all events of `taken` (U, I), both ways; the inverse of a relation is another relation.

        Relation ``2 R`` leads from an item to who took it, the last, ``2 R + 1``, from a person to the items.
        """
        n_people, count = len(taken.indptr) - 1, knowledge.n_relations
        people = np.repeat(np.arange(n_people), np.diff(taken.indptr)) + knowledge.n_entities
        items = taken.indices.astype(np.int64)
        heads = np.concatenate([knowledge.heads, knowledge.tails, items, people])
        tails = np.concatenate([knowledge.tails, knowledge.heads, people, items])
        kinds = (knowledge.relations, knowledge.relations + count)
        ones = np.ones(len(items), dtype=np.int64)
        relations = np.concatenate([*kinds, 2 * count * ones, (2 * count + 1) * ones])
        order = np.argsort(heads, kind="stable")
        return cls(
            heads=heads[order],
            relations=relations[order],
            tails=tails[order],
            n_nodes=knowledge.n_entities + n_people,
        )


class _Network(nn.Module):
    """Vectors of entities, relations and layers; of what was propagated, what scoring needs."""

    states: Tensor
    final: Tensor
    nobody: Tensor

    def __init__(self, config: KGATConfig, n_items: int, n_entities: int, n_relations: int) -> None:
        super().__init__()
        dim = config.dim
        self.entities = nn.Parameter(torch.empty(n_entities, dim))
        self.kinds = nn.Parameter(torch.empty(n_relations, dim))
        self.turns = nn.Parameter(torch.empty(n_relations, dim, dim))
        self.sums = nn.ModuleList(nn.Linear(dim, dim) for _ in range(config.layers))
        self.products = nn.ModuleList(nn.Linear(dim, dim) for _ in range(config.layers))
        self.drop = Dropout(config.dropout)
        self.register_buffer("states", torch.empty(config.layers, n_items, dim))
        self.register_buffer("final", torch.empty(n_items, dim * (config.layers + 1)))
        self.register_buffer("nobody", torch.empty(dim * (config.layers + 1)))

    def initialise(self, generator: torch.Generator) -> None:
        """Normal vectors, Xavier weights, zero biases; nothing is propagated yet."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.zeros_(parameter)
            elif name in {"entities", "kinds"}:
                nn.init.normal_(parameter, std=0.1, generator=generator)
            else:
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5, generator=generator)
        for buffer in self.buffers():
            buffer.zero_()

    def attention(self, edges: Edges, nodes: Tensor) -> sparse.csr_matrix:
        """How much each node listens to each neighbour, (V, V): ``softmax_t((W_r e_t) . tanh(W_r e_h + r))``."""
        scores = np.empty(len(edges.heads))
        for relation in np.unique(edges.relations):
            at = np.flatnonzero(edges.relations == relation)
            heads, tails = (torch.from_numpy(ends[at]).to(nodes.device) for ends in (edges.heads, edges.tails))
            scores[at] = self._closeness(nodes[heads], nodes[tails], int(relation)).cpu().numpy()
        offsets = np.concatenate([[0], np.cumsum(np.bincount(edges.heads, minlength=edges.n_nodes))])
        firsts = offsets[:-1][np.diff(offsets) > 0]
        if len(firsts):
            lengths = np.diff(np.append(firsts, len(scores)))
            scores = np.exp(scores - np.repeat(np.maximum.reduceat(scores, firsts), lengths))
            scores /= np.repeat(np.add.reduceat(scores, firsts), lengths)
        parts = (scores.astype(np.float32), edges.tails, offsets)
        return sparse.csr_matrix(parts, shape=(edges.n_nodes, edges.n_nodes))

    def propagate(self, nodes: Tensor, graph: SparseProduct) -> list[Tensor]:
        """The vectors of all nodes after 0, 1, .. L steps, (V, D) each."""
        reached = [nodes]
        for layer in range(len(self.sums)):
            reached.append(self._step(layer, reached[-1], graph @ reached[-1]))
        return reached

    def people(self, bags: Bags) -> Tensor:
        """Vectors of the people of `bags` (B, D (L + 1)) from the states of items that were kept."""
        if not len(bags.items):
            return self.nobody.expand(len(bags), -1)
        items = self.states[0].index_select(0, bags.items)
        person = torch.zeros(len(bags), items.shape[1], device=items.device).index_add(0, bags.rows, items)
        person = person * bags.lengths.clamp(min=1).to(person.dtype).rsqrt()[:, None]
        scores = self._closeness(person.index_select(0, bags.rows), items, len(self.kinds) - 1)
        largest = torch.full((len(bags),), -torch.inf, device=items.device)
        largest = largest.scatter_reduce(0, bags.rows, scores, "amax")
        weights = (scores - largest.index_select(0, bags.rows)).exp()
        weights = weights / torch.zeros(len(bags), device=items.device).index_add(0, bags.rows, weights).index_select(
            0, bags.rows
        )
        reached = [person]
        for layer, state in enumerate(self.states):
            heard = torch.zeros_like(person).index_add(0, bags.rows, state[bags.items] * weights[:, None])
            reached.append(self._step(layer, reached[-1], heard))
        return torch.where(bags.lengths[:, None] > 0, torch.cat(reached, dim=1), self.nobody)

    def edge_loss(self, nodes: Tensor, edges: Edges, count: int, generator: torch.Generator) -> Tensor:
        """TransR on `count` drawn edges: ``W_r e_h + r`` should lie nearer to ``W_r e_t`` than to that of any node."""
        if not len(edges.heads):
            return nodes.new_zeros(())
        drawn = torch.randint(len(edges.heads), (count,), generator=generator, device=generator.device)
        ends = (edges.heads, edges.tails, edges.relations)
        heads, tails, relations = (torch.from_numpy(part[drawn.cpu().numpy()]).to(nodes.device) for part in ends)
        others = torch.randint(len(nodes), (count,), generator=generator, device=generator.device)
        turns = nn.functional.embedding(relations, self.turns.flatten(1)).unflatten(1, self.turns.shape[1:])
        head, tail, other = (
            (turns @ nodes.index_select(0, part)[:, :, None])[:, :, 0].float() for part in (heads, tails, others)
        )
        head = head + nn.functional.embedding(relations, self.kinds)
        farther = (head - other).square().sum(dim=1) - (head - tail).square().sum(dim=1)
        return nn.functional.softplus(-farther).mean()

    def _closeness(self, heads: Tensor, tails: Tensor, relation: int) -> Tensor:
        turn = self.turns[relation].T
        return ((tails @ turn) * torch.tanh(heads @ turn + self.kinds[relation])).sum(dim=1)

    def _step(self, layer: int, own: Tensor, heard: Tensor) -> Tensor:
        summed = nn.functional.leaky_relu(self.sums[layer](own + heard))
        return self.drop(summed + nn.functional.leaky_relu(self.products[layer](own * heard)))


class KGAT(NeuralModel[KGATConfig, _Network]):
    """Scores = ``p . z_i``, where both are the vectors of a node after 0, 1, .. L steps, side by side.

    The graph holds items and entities with their triples, and people with their events. Entities have vectors to learn;
    a person starts as ``n^-1/2`` times the sum of those of the n items. In a step each node hears the mean of its
    neighbours weighed by `_Network.attention`, ``m``, and becomes
    ``leaky_relu(W1 (e + m)) + leaky_relu(W2 (e * m))``. A stranger listens to the items of the history in the same way,
    so the answer is that of a training person with the same history. An empty history gets the mean vector of the
    training people. Attention is computed once a pass and learned by making edges likely, as in the paper.

    Unlike in the paper, people have no vectors of their own; each pass hides a share of the events from the graph and
    predicts those; the recommendation loss is the softmax over many items instead of BPR and is added to that of the
    edges instead of taking turns with it; layers are equally wide.
    """

    Config = KGATConfig
    needs = frozenset({"knowledge"})

    @property
    @override
    def no_warm_start(self) -> str | None:
        return "entities that are no items have no ids in a stored model"

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        assert data.knowledge is not None
        self._knowledge = data.knowledge
        self._sizes = data.knowledge.n_entities, 2 * data.knowledge.n_relations + 2
        self._matrix = data.histories.matrix(self.n_items)
        self._events = HiddenEvents(self._matrix, self.device)
        return len(data.histories)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        entities = self._tensor(tensors, "entities", (None, self.config.dim))
        self._sizes = len(entities), len(self._tensor(tensors, "kinds", (None, self.config.dim)))

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, *self._sizes)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @override
    def pass_begins(self, generator: torch.Generator) -> None:
        self._connect(self._events.draw(self.config.hidden, generator))

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        nodes = self._nodes()
        final = torch.cat(self.network.propagate(nodes, self._graph), dim=1)
        questions = self._events.batch(rows, self.config.negatives, generator)
        people = final.index_select(0, torch.from_numpy(rows).to(self.device) + self._sizes[0])
        targets = final.index_select(0, questions.targets)
        positives = (people.index_select(0, questions.rows) * targets).sum(dim=1)
        scores = people @ final.index_select(0, questions.candidates).T
        likely = self.network.edge_loss(nodes, self._edges, self.config.kge_batch, generator)
        return completion_loss(scores, positives, questions) + self.config.kge_weight * likely

    @override
    def pass_ends(self) -> None:
        self._connect(self._matrix)
        reached = self.network.propagate(self._nodes(), self._graph)
        final = torch.cat(reached, dim=1)
        self.network.states.copy_(torch.stack(reached[:-1])[:, : self.n_items])
        self.network.final.copy_(final[: self.n_items])
        self.network.nobody.copy_(final[self._sizes[0] :].mean(dim=0))

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.final

    @torch.no_grad()
    def _connect(self, taken: sparse.csr_matrix) -> None:
        """Make the graph of the knowledge and the events `taken` (U, I), with the attention of this moment."""
        lengths = np.diff(taken.indptr)
        data = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths).astype(np.float32)
        self._sums = SparseProduct.of(sparse.csr_matrix((data, taken.indices, taken.indptr), taken.shape), self.device)
        self._edges = Edges.of(self._knowledge, taken)
        self._graph = SparseProduct.of(self.network.attention(self._edges, self._nodes()), self.device)

    def _nodes(self) -> Tensor:
        """Where all nodes start, (V, D): entities, then people."""
        entities = self.network.entities
        return torch.cat([entities, self._sums @ entities[: self.n_items]])
