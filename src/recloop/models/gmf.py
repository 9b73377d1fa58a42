"""GMF: generalised matrix factorisation, a weighted inner product learned by telling taken items from others.

He et al., "Neural collaborative filtering", WWW 2017.
Shapes: B people or contexts, I items, D dimensions, T items to predict, K negatives of each.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.neural_cf import NeuralCF, NeuralCFConfig, NeuralCFNetwork
from recloop.nn.histories import Bags, BagStore
from recloop.search import Choice, Real, Space, Whole


class GMFConfig(NeuralCFConfig):
    """Parameters of `GMF`: those of `NeuralCFConfig`."""

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((16, 32, 64)),
        "negatives": Whole(1, 16, log=True),
    }


class _Network(NeuralCFNetwork):
    def __init__(self, config: GMFConfig, n_items: int) -> None:
        super().__init__(n_items, config.dim)
        self.weights = nn.Parameter(torch.empty(config.dim))

    @override
    def initialise(self, generator: torch.Generator) -> None:
        """Small normal vectors, weights of one."""
        super().initialise(generator)
        nn.init.ones_(self.weights)

    def people(self, bags: Bags) -> Tensor:
        """``w * p`` of people, (B, D)."""
        return self.weights * self.vectors(bags)

    @override
    def forward(self, bags: Bags, rows: Tensor, items: Tensor) -> Tensor:
        """Logits ``w . (p * q_i)`` of `items` (T, K + 1) for the people `rows` (T,) of `bags`, (T, K + 1)."""
        return torch.einsum("td,tkd->tk", self.people(bags)[rows], self.items(items))


class GMF(NeuralCF[GMFConfig, _Network]):
    """Logit of item i = ``w . (p * q_i)`` with weights ``w``, a person ``p`` and an item ``q_i``, all (D,).

    In the paper ``p`` is learned for each user. Here a person is the history, as in FISM (Kabbur et al., KDD 2013):
    ``p = nobody + n^-0.5 * (sum of vectors of the n items)``, so that people never seen are scored; an empty history
    gets ``nobody``. Training shows a random part of each history and predicts the rest, by the paper's log loss with
    `negatives` items, not taken by the person, for each. Scores are logits and factorise.
    """

    Config = GMFConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return self.network.people(BagStore(contexts.matrix(self.n_items)).all(self.device))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items.weight.detach()
