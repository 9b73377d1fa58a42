"""BPR: what a person took should score higher than what the person did not take.

Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit feedback", UAI
2009; the person is made of the history as in Kabbur, Ning and Karypis, "FISM", KDD 2013.
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
from recloop.nn.pairwise import PairNetwork, untaken
from recloop.nn.products import inner_products
from recloop.search import Choice, Real, Space, Whole


class BPRConfig(NeuralConfig):
    """Parameters of `BPR`.

    Attributes:
        dim: length of the vectors, D.
        alpha: how a person's vector shrinks with the length n of the history: its sum is divided by ``n^alpha``.
        negatives: items drawn for each event, K.

    A training example is a person, with all events at once.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "weight_decay": Real(1e-4, 1.0, log=True),
        "dim": Choice((32, 64, 128)),
        "alpha": Real(0.0, 1.0),
        "negatives": Whole(1, 16, log=True),
    }

    dim: int = Field(default=64, ge=1)
    alpha: float = Field(default=0.5, ge=0, le=1)
    negatives: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=30, ge=1)


class BPR(NeuralModel[BPRConfig, PairNetwork]):
    """Scores ``s_ui = p_u . e_i + b_i`` with ``p_u = n^-alpha sum of q_j`` over the n items j of the history.

    Minimises the mean of ``-log sigmoid(s_ui - s_uj)`` over all events (u, i) and K items j drawn uniformly from those
    that u did not take. Here ``p_u`` leaves out item i, and all events of a person are examples of one step. In the
    paper each person has a vector of its own, which would leave strangers without an answer, and steps are of one
    pair; weight decay takes the place of its ridge. An empty history gets ``b_i``.
    """

    Config = BPRConfig

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._takers = BagStore(sparse.csr_matrix(matrix[matrix.getnnz(axis=1) > 0]))
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
        return torch.nn.functional.softplus(self.network(people, others) - taken).mean()

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
