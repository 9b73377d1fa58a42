"""WARP: a taken item that stands far down the ranking weighs more than one near its top.

Weston, Bengio and Usunier, "WSABIE: scaling up to large vocabulary image annotation", IJCAI 2011; the person is made of
the history as in Kabbur, Ning and Karypis, "FISM", KDD 2013.
Shapes: B people, I items, D dimensions, N events of a batch of people, K items drawn for each.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.histories import BagStore
from recloop.nn.pairwise import PairNetwork, first_violations, untaken
from recloop.nn.products import inner_products
from recloop.search import Choice, Real, Space, Whole


class WARPConfig(NeuralConfig):
    """Parameters of `WARP`.

    Attributes:
        dim: length of the vectors, D.
        alpha: how a person's vector shrinks with the length n of the history: its sum is divided by ``n^alpha``.
        negatives: items drawn for each event, K: how far down the search for a violation goes.

    A training example is a person, with all events at once.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "negatives": Whole(4, 128, log=True),
    }

    dim: int = Field(default=64, ge=1)
    alpha: float = Field(default=0.5, ge=0, le=1)
    negatives: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=20, ge=1)


class WARP(NeuralModel[WARPConfig, PairNetwork]):
    """Scores ``s_ui = p_u . e_i + b_i`` with ``p_u = n^-alpha sum of q_j`` over the n items j of the history.

    For each event (u, i), K items that u did not take are drawn. The first of them, the t-th, with ``s_uj > s_ui - 1``
    is the violator; i's rank is estimated as ``r = (I - 1) / t`` rounded down. Minimises the mean over all events of
    ``(1/1 + 1/2 + ... + 1/r) / (1 + ... + 1/(I - 1)) * max(0, 1 - s_ui + s_uj)``; an event without a violator adds 0.

    The paper draws one after the other until it meets a violator; here all K are drawn at once. Here ``p_u``
    leaves out item i, and all events of a person are examples of one step; the weights are scaled to at most 1, and
    weight decay takes the place of the bound on norms. An empty history gets ``b_i``.
    """

    Config = WARPConfig

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._takers = BagStore(sparse.csr_matrix(matrix[matrix.getnnz(axis=1) > 0]))
        harmonic = torch.cat([torch.zeros(1), 1 / torch.arange(1, max(2, self.n_items))]).cumsum(0)
        self._weights = (harmonic / harmonic[-1]).to(self.device)
        return len(self._takers)

    @override
    def new_network(self) -> PairNetwork:
        return PairNetwork(self.n_items, self.config.dim, self.config.alpha)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        bags = self._takers.batch(rows, self.device)
        others = untaken(bags, self.n_items, self.config.negatives, generator)
        people = self.network.history.without_each(bags)
        taken = self.network(people, bags.items[:, None])
        with torch.no_grad():
            found, tries = first_violations(self.network.many(people, others) > taken - 1)
            weights = self._weights[(self.n_items - 1) // tries]
        violators = others[found, tries[found] - 1, None]
        gaps = 1 - taken[found] + self.network(people[found], violators)
        return (weights[found, None] * gaps).sum() / len(bags.items)

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return inner_products(self.user_vectors(contexts), self.item_vectors())

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))

    @override
    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        return self.network.catalogue()
