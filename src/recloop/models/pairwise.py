"""What models that learn from pairs have in common: each event against items that its person did not take.

Shapes: B people, I items, D dimensions, N events of a batch of people, K items drawn for each.
"""

from abc import abstractmethod
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import TypeVar, override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.histories import BagStore
from recloop.nn.pairwise import PairNetwork, untaken


class PairwiseConfig(NeuralConfig):
    """Parameters of models that learn from pairs.

    Attributes:
        dim: length of the vectors, D.
        alpha: how a person's vector shrinks with the length n of the history: its sum is divided by ``n^alpha``.
        negatives: items drawn for each event, K.

    A training example is a person, with all events at once.
    """

    dim: int = Field(default=64, ge=1)
    alpha: float = Field(default=0.5, ge=0, le=1)
    negatives: int = Field(ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_size: int = Field(default=32, ge=1)


C_co = TypeVar("C_co", bound=PairwiseConfig, default=PairwiseConfig, covariant=True)


class PairwiseModel(NeuralModel[C_co, PairNetwork], Generic[C_co]):
    """Scores ``s_ui = p_u . e_i + b_i`` with ``p_u = n^-alpha sum of q_j`` over the n items j of the history.

    Training compares each event (u, i) with K items drawn from those that u did not take; there ``p_u`` leaves out item
    i. An empty history gets ``b_i``.
    """

    per_item = frozenset({"history.items.weight", "items.weight", "biases.weight"})

    @abstractmethod
    def compare(self, people: Tensor, taken: Tensor, others: Tensor) -> Tensor:
        """Mean loss over the N events of a batch.

        Args:
            people: ``p_u`` without the item of the event, (N, D).
            taken: ``s_ui`` of that item, (N, 1).
            others: items that u did not take, int64 (N, K).
        """

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
        return self.compare(people, self.network(people, bags.items[:, None]), others)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))

    @override
    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        return self.network.catalogue()
