"""NeuMF: a weighted inner product and a perceptron, each with vectors of its own, decide together.

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
from recloop.nn.products import inner_products
from recloop.search import Choice, Real, Space, Whole


class NeuMFConfig(NeuralConfig):
    """Parameters of `NeuMF`.

    Attributes:
        dim: length of the vectors of either half, and width of the first layer, D; each next layer is half as wide.
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
    """Vectors of both halves lie side by side: the first D belong to the product, the others to the perceptron."""

    def __init__(self, config: NeuMFConfig, n_items: int) -> None:
        super().__init__()
        self.halves = [config.dim, config.dim]
        self.history = HistoryEncoder(n_items, 2 * config.dim)
        self.nobody = nn.Parameter(torch.empty(2 * config.dim))
        self.items = nn.Embedding(n_items, 2 * config.dim)
        self.perceptron = PairPerceptron(config.dim, config.layers)
        self.product_weights = nn.Parameter(torch.empty(config.dim))
        self.weights = nn.Parameter(torch.empty(self.perceptron.width))

    def people(self, bags: Bags) -> tuple[Tensor, Tensor]:
        """What the product and the first layer need of people, (B, D) each."""
        product, perceptron = (self.nobody + self.history(bags)).split(self.halves, dim=1)
        return self.product_weights * product, self.perceptron.person(perceptron)

    def catalogue(self) -> tuple[Tensor, Tensor]:
        """What the product and the first layer need of all items, (I, D) each."""
        product, perceptron = self.items.weight.split(self.halves, dim=1)
        return product, self.perceptron.item(perceptron)

    @override
    def forward(self, person_parts: Tensor, item_parts: Tensor) -> Tensor:
        """What the perceptron adds to the logits of pairs, (...)."""
        return self.perceptron(person_parts, item_parts) @ self.weights


class NeuMF(NeuralModel[NeuMFConfig, _Network]):
    """Logit of item i = ``v . (p * q_i) + w . z``, with ``z`` the last layer of a perceptron over ``[p'; q'_i]``.

    In the paper ``p`` and ``p'`` are learned for each user. Here a person is the history, as in FISM (Kabbur et al.,
    KDD 2013): ``p = nobody + n^-0.5 * (sum of vectors of the n items)``, so that people never seen are scored; an empty
    history gets ``nobody``. Both halves are trained together from the start, without the paper's optional pre-training
    of each. Training shows a random part of each history and predicts the rest, by the paper's log loss with
    `negatives` items, not taken by the person, for each. Scores are logits; the catalogue is scored in blocks of items,
    so memory stays bounded.
    """

    Config = NeuMFConfig

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
        nn.init.ones_(self.network.product_weights)
        nn.init.normal_(self.network.weights, std=len(self.network.weights) ** -0.5, generator=generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = self._people.batch(rows, self.device, generator)
        whose = torch.from_numpy(rows).to(self.device)[batch.rows]
        drawn = self._unseen.draw(whose, self.config.negatives, generator)
        both = torch.cat([batch.items[:, None], drawn], dim=1)
        people = [nn.functional.embedding(batch.rows, part) for part in self.network.people(batch.shown)]
        items = [nn.functional.embedding(both, part) for part in self.network.catalogue()]
        logits = torch.einsum("td,tkd->tk", people[0], items[0]) + self.network(people[1][:, None], items[1])
        return log_loss(logits[:, 0], logits[:, 1:])

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        people = self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))
        items = self.network.catalogue()
        scores = inner_products(people[0], items[0])
        for block in in_blocks(len(contexts), self.n_items, self.config.dim):
            scores[:, block] += self.network(people[1][:, None], items[1][block])
        return scores
