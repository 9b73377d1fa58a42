"""NeuMF: a weighted inner product and a perceptron, each with vectors of its own, decide together.

He et al., "Neural collaborative filtering", WWW 2017.
Shapes: B people or contexts, I items, D dimensions, H of the first layer, T items to predict, K negatives of each.
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
from recloop.nn.products import inner_products
from recloop.search import Choice, Real, Space, Whole


class NeuMFConfig(NeuralCFConfig):
    """Parameters of `NeuMF`; see `NeuralCFConfig` for the others.

    Attributes:
        dim: length of the vectors of either half, D.
        layers: of the perceptron.
        width: of its first layer, H; D if null. Each next layer is half as wide.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "negatives": Whole(1, 16, log=True),
    }

    layers: int = Field(default=3, ge=1)
    width: int | None = Field(default=None, ge=1)


class _Network(NeuralCFNetwork):
    """Vectors of both halves lie side by side: the first D belong to the product, the others to the perceptron."""

    def __init__(self, config: NeuMFConfig, n_items: int) -> None:
        super().__init__(n_items, 2 * config.dim)
        self.width = config.width or config.dim
        self.halves = [config.dim, config.dim]
        self.parts = [config.dim, self.width]
        self.perceptron = PairPerceptron(config.dim, config.layers, self.width)
        self.product_weights = nn.Parameter(torch.empty(config.dim))
        self.weights = nn.Parameter(torch.empty(self.perceptron.width))

    @override
    def initialise(self, generator: torch.Generator) -> None:
        """Normal vectors and weights, weights of the product 1; see `PairPerceptron` for its own."""
        super().initialise(generator)
        self.perceptron.initialise(generator)
        nn.init.ones_(self.product_weights)
        nn.init.normal_(self.weights, std=len(self.weights) ** -0.5, generator=generator)

    def people(self, bags: Bags) -> tuple[Tensor, Tensor]:
        """What the product and the first layer need of people, (B, D) and (B, H)."""
        product, perceptron = self.vectors(bags).split(self.halves, dim=1)
        return self.product_weights * product, self.perceptron.person(perceptron)

    def catalogue(self) -> tuple[Tensor, Tensor]:
        """What the product and the first layer need of all items, (I, D) and (I, H)."""
        product, perceptron = self.items.weight.split(self.halves, dim=1)
        return product, self.perceptron.item(perceptron)

    def match(self, person_parts: Tensor, item_parts: Tensor) -> Tensor:
        """What the perceptron adds to the logits of pairs, (...)."""
        return self.perceptron(person_parts, item_parts) @ self.weights

    @override
    def forward(self, bags: Bags, rows: Tensor, items: Tensor) -> Tensor:
        """Logits of `items` (T, K + 1) for the people `rows` (T,) of `bags`, (T, K + 1)."""
        people = nn.functional.embedding(rows, torch.cat(self.people(bags), dim=1))[:, None].split(self.parts, dim=2)
        chosen = nn.functional.embedding(items, torch.cat(self.catalogue(), dim=1)).split(self.parts, dim=2)
        return (people[0] * chosen[0]).sum(dim=2) + self.match(people[1], chosen[1])


class NeuMF(NeuralCF[NeuMFConfig, _Network]):
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
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    @torch.no_grad()
    def score(self, contexts: Contexts) -> Tensor:
        people = self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))
        items = self.network.catalogue()
        scores = inner_products(people[0], items[0])
        for block in in_blocks(len(contexts), self.n_items, self.network.width):
            scores[:, block] += self.network.match(people[1][:, None], items[1][block])
        return scores
