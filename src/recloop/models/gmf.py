"""GMF: generalised matrix factorisation, a weighted inner product learned by telling taken items from others.

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
from recloop.nn.histories import Bags, BagStore, HistoryEncoder
from recloop.nn.holdouts import HoldoutStore, log_loss
from recloop.nn.negatives import Unseen
from recloop.nn.products import inner_products
from recloop.search import Choice, Real, Space, Whole


class GMFConfig(NeuralConfig):
    """Parameters of `GMF`.

    Attributes:
        dim: length of the vectors, D.
        negatives: items drawn for each item to predict, K.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "negatives": Whole(1, 16, log=True),
    }

    dim: int = Field(default=32, ge=1)
    negatives: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=0.005, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=40, ge=1)


class _Network(nn.Module):
    def __init__(self, config: GMFConfig, n_items: int) -> None:
        super().__init__()
        self.history = HistoryEncoder(n_items, config.dim)
        self.nobody = nn.Parameter(torch.empty(config.dim))
        self.items = nn.Embedding(n_items, config.dim)
        self.weights = nn.Parameter(torch.empty(config.dim))

    @override
    def forward(self, bags: Bags) -> Tensor:
        """``w * p`` of people, (B, D)."""
        return self.weights * (self.nobody + self.history(bags))


class GMF(NeuralModel[GMFConfig, _Network]):
    """Logit of item i = ``w . (p * q_i)`` with weights ``w``, a person ``p`` and an item ``q_i``, all (D,).

    In the paper ``p`` is learned for each user. Here a person is the history, as in FISM (Kabbur et al., KDD 2013):
    ``p = nobody + n^-0.5 * (sum of vectors of the n items)``, so that people never seen are scored; an empty history
    gets ``nobody``. Training shows a random part of each history and predicts the rest, by the paper's log loss with
    `negatives` items, not taken by the person, for each. Scores are logits and factorise.
    """

    Config = GMFConfig

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
        nn.init.ones_(self.network.weights)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = self._people.batch(rows, self.device, generator)
        whose = torch.from_numpy(rows).to(self.device)[batch.rows]
        drawn = self._unseen.draw(whose, self.config.negatives, generator)
        items = self.network.items(torch.cat([batch.items[:, None], drawn], dim=1))
        logits = torch.einsum("td,tkd->tk", self.network(batch.shown)[batch.rows], items)
        return log_loss(logits[:, 0], logits[:, 1:])

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return inner_products(self.user_vectors(contexts), self.item_vectors())

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return self.network(BagStore(contexts.matrix(self.n_items)).all(self.device))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items.weight.detach()
