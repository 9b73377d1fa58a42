"""MLP: a person and an item, one beside the other, go through a perceptron that learns how they match.

He et al., "Neural collaborative filtering", WWW 2017.
Shapes: B people or contexts, I items, D dimensions, T items to predict, K negatives of each.
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
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.collaborative import PairPerceptron, in_blocks
from recloop.nn.histories import Bags, BagStore, HistoryEncoder
from recloop.nn.holdouts import HoldoutStore, log_loss
from recloop.nn.negatives import Unseen
from recloop.search import Choice, Real, Space, Whole


class MLPConfig(NeuralConfig):
    """Parameters of `MLP`.

    Attributes:
        dim: length of the vectors and width of the first layer, D; each next layer is half as wide.
        layers: of the perceptron.
        negatives: items drawn for each item to predict, K.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "negatives": Whole(1, 16, log=True),
    }

    dim: int = Field(default=32, ge=1)
    layers: int = Field(default=3, ge=1)
    negatives: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=0.005, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=40, ge=1)


class _Network(nn.Module):
    def __init__(self, config: MLPConfig, n_items: int) -> None:
        super().__init__()
        self.history = HistoryEncoder(n_items, config.dim)
        self.nobody = nn.Parameter(torch.empty(config.dim))
        self.items = nn.Embedding(n_items, config.dim)
        self.perceptron = PairPerceptron(config.dim, config.layers)
        self.weights = nn.Parameter(torch.empty(self.perceptron.width))

    def people(self, bags: Bags) -> Tensor:
        """The first layer's part of people, (B, D)."""
        return self.perceptron.person(self.nobody + self.history(bags))

    def catalogue(self) -> Tensor:
        """The first layer's part of all items, (I, D)."""
        return self.perceptron.item(self.items.weight)

    @override
    def forward(self, person_parts: Tensor, item_parts: Tensor) -> Tensor:
        """Logits of pairs, (...)."""
        return self.perceptron(person_parts, item_parts) @ self.weights


class MLP(NeuralModel[MLPConfig, _Network]):
    """Logit of item i = ``w . z``, where ``z`` is the last layer of a perceptron over ``[p; q_i]``.

    In the paper ``p`` is learned for each user. Here a person is the history, as in FISM (Kabbur et al., KDD 2013):
    ``p = nobody + n^-0.5 * (sum of vectors of the n items)``, so that people never seen are scored; an empty history
    gets ``nobody``. Training shows a random part of each history and predicts the rest, by the paper's log loss with
    `negatives` items, not taken by the person, for each. Scores are logits; the catalogue is scored in blocks of items,
    so memory stays bounded.
    """

    Config = MLPConfig

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._people = HoldoutStore(matrix)
        taken = BagStore(matrix).all(self.device)
        self._unseen = Unseen(taken.rows, taken.items, self.n_items, self.device)
        return len(self._people)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        for parameter in self.network.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)
        self.network.perceptron.initialise(generator)
        nn.init.normal_(self.network.weights, std=len(self.network.weights) ** -0.5, generator=generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = self._people.batch(rows, self.device, generator)
        whose = torch.from_numpy(rows).to(self.device)[batch.rows]
        drawn = self._unseen.draw(whose, self.config.negatives, generator)
        items = nn.functional.embedding(torch.cat([batch.items[:, None], drawn], dim=1), self.network.catalogue())
        people = nn.functional.embedding(batch.rows, self.network.people(batch.shown))
        logits = self.network(people[:, None], items)
        return log_loss(logits[:, 0], logits[:, 1:])

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        people = self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))
        items = self.network.catalogue()
        scores = torch.empty(len(contexts), self.n_items, device=self.device)
        for block in in_blocks(len(contexts), self.n_items, self.config.dim):
            scores[:, block] = self.network(people[:, None], items[block])
        return scores
