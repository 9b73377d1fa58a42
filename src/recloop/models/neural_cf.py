"""What models of neural collaborative filtering have in common: people made of histories, taken items told from others.

He et al., "Neural collaborative filtering", WWW 2017.
Shapes: B people or contexts, I items, D dimensions, T items to predict, K negatives of each, W length of a vector.
"""

from abc import abstractmethod
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypeVar, override

from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.histories import Bags, BagStore, HistoryEncoder
from recloop.nn.holdouts import HoldoutStore, log_loss
from recloop.nn.negatives import Unseen


class NeuralCFConfig(NeuralConfig):
    """Parameters of models of neural collaborative filtering.

    Attributes:
        dim: length of the vectors, D.
        negatives: items drawn for each item to predict, K.

    A training example is a person.
    """

    dim: int = Field(default=32, ge=1)
    negatives: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=0.005, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=40, ge=1)


class NeuralCFNetwork(nn.Module):
    """Vectors of items, and of people from their histories; a subclass says how they match.

    Args:
        n_items: I.
        width: W, the length of the vectors.
    """

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__()
        self.history = HistoryEncoder(n_items, width)
        self.nobody = nn.Parameter(torch.empty(width))
        self.items = nn.Embedding(n_items, width)

    def initialise(self, generator: torch.Generator) -> None:
        """Give every parameter its first value; here normal ones of deviation 0.1."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)

    def vectors(self, bags: Bags) -> Tensor:
        """``nobody + n^-0.5 * (sum of vectors of the n items)`` of people, (B, W)."""
        return self.nobody + self.history(bags)

    @override
    @abstractmethod
    def forward(self, bags: Bags, rows: Tensor, items: Tensor) -> Tensor:
        """Logits (T, K + 1) of `items` int64 (T, K + 1) for the people `rows` int64 (T,) of `bags`."""


C_co = TypeVar("C_co", bound=NeuralCFConfig, default=NeuralCFConfig, covariant=True)
N = TypeVar("N", bound=NeuralCFNetwork, default=NeuralCFNetwork)


class NeuralCF(NeuralModel[C_co, N], Generic[C_co, N]):
    """Logits of pairs of a person and an item, learned by log loss; a subclass says what the network is and scores.

    A person is the history, as in FISM (Kabbur et al., KDD 2013), so that people never seen are scored. Training shows
    a random part of each history and predicts the rest, with `negatives` items, not taken by the person, for each.
    """

    per_item = frozenset({"history.items.weight", "items.weight"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._people = HoldoutStore(matrix)
        taken = BagStore(matrix).all(self.device)
        self._unseen = Unseen(taken.rows, taken.items, self.n_items, self.device)
        return len(self._people)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = self._people.batch(rows, self.device, generator)
        whose = torch.from_numpy(rows).to(self.device)[batch.rows]
        drawn = self._unseen.draw(whose, self.config.negatives, generator)
        logits = self.network(batch.shown, batch.rows, torch.cat([batch.items[:, None], drawn], dim=1))
        return log_loss(logits[:, 0], logits[:, 1:])
