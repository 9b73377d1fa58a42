"""MLP: a person and an item, one beside the other, go through a perceptron that learns how they match.

He et al., "Neural collaborative filtering", WWW 2017.
Shapes: B people or contexts, I items, D dimensions, T items to predict, K negatives of each.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.neural_cf import NeuralCF, NeuralCFConfig, NeuralCFNetwork
from recloop.nn.collaborative import PairPerceptron, in_blocks
from recloop.nn.histories import Bags, BagStore
from recloop.search import Choice, Real, Space, Whole


class MLPConfig(NeuralCFConfig):
    """Parameters of `MLP`; see `NeuralCFConfig` for the others.

    Attributes:
        dim: length of the vectors and width of the first layer, D; each next layer is half as wide.
        layers: of the perceptron.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "negatives": Whole(1, 16, log=True),
    }

    layers: int = Field(default=3, ge=1)


class _Network(NeuralCFNetwork):
    def __init__(self, config: MLPConfig, n_items: int) -> None:
        super().__init__(n_items, config.dim)
        self.perceptron = PairPerceptron(config.dim, config.layers)
        self.weights = nn.Parameter(torch.empty(self.perceptron.width))

    @override
    def initialise(self, generator: torch.Generator) -> None:
        """Normal vectors and weights; see `PairPerceptron` for its own."""
        super().initialise(generator)
        self.perceptron.initialise(generator)
        nn.init.normal_(self.weights, std=len(self.weights) ** -0.5, generator=generator)

    def people(self, bags: Bags) -> Tensor:
        """The first layer's part of people, (B, D)."""
        return self.perceptron.person(self.vectors(bags))

    def catalogue(self) -> Tensor:
        """The first layer's part of all items, (I, D)."""
        return self.perceptron.item(self.items.weight)

    def match(self, person_parts: Tensor, item_parts: Tensor) -> Tensor:
        """Logits of pairs, (...), from the first layer's parts."""
        return self.perceptron(person_parts, item_parts) @ self.weights

    @override
    def forward(self, bags: Bags, rows: Tensor, items: Tensor) -> Tensor:
        """Logits ``w . z`` of `items` (T, K + 1) for the people `rows` (T,) of `bags`, (T, K + 1)."""
        item_parts = nn.functional.embedding(items, self.catalogue())
        person_parts = nn.functional.embedding(rows, self.people(bags))
        return self.match(person_parts[:, None], item_parts)


class MLP(NeuralCF[MLPConfig, _Network]):
    """Logit of item i = ``w . z``, where ``z`` is the last layer of a perceptron over ``[p; q_i]``.

    In the paper ``p`` is learned for each user. Here a person is the history, as in FISM (Kabbur et al., KDD 2013):
    ``p = nobody + n^-0.5 * (sum of vectors of the n items)``, so that people never seen are scored; an empty history
    gets ``nobody``. Training shows a random part of each history and predicts the rest, by the paper's log loss with
    `negatives` items, not taken by the person, for each. Scores are logits; the catalogue is scored in blocks of items,
    so memory stays bounded.
    """

    Config = MLPConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        people = self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))
        items = self.network.catalogue()
        scores = torch.empty(len(contexts), self.n_items, device=self.device)
        for block in in_blocks(len(contexts), self.n_items, self.config.dim):
            scores[:, block] = self.network.match(people[:, None], items[block])
        return scores
