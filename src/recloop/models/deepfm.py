"""DeepFM: a factorisation machine and a perceptron over the same fields rank the candidates of another model.

Guo et al., "DeepFM: a factorization-machine based neural network for CTR prediction", IJCAI 2017.
Shapes: B people or contexts, I items, U training people, D numbers of a field, T items to predict, P pairs.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.reranker import PairNetwork, Reranker, RerankerConfig
from recloop.nn.fields import PairFields, Perceptron, pairwise


class DeepFMConfig(RerankerConfig):
    """Parameters of `DeepFM`; see `RerankerConfig` for the others.

    Attributes:
        layers: of the perceptron, each twice as wide as a field.
    """


class _Network(PairNetwork):
    """Each field has one number more than D: its own weight in the logit."""

    def __init__(self, config: DeepFMConfig, n_items: int, n_buckets: list[int]) -> None:
        super().__init__()
        self.fields = PairFields(n_items, config.dim + 1, n_buckets)
        self.deep = Perceptron(4 * config.dim, 2 * config.dim, config.layers)
        self.out = nn.Linear(2 * config.dim, 1)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.deep.initialise(generator)
        nn.init.normal_(self.out.weight, std=0.1, generator=generator)
        nn.init.zeros_(self.out.bias)

    @override
    def forward(self, people: Tensor, items: Tensor) -> Tensor:
        """Logits of pairs, (...), from the fields of both sides, (..., 2, D + 1)."""
        fields = torch.cat([people, items], dim=-2)
        weights, vectors = fields[..., 0], fields[..., 1:]
        return weights.sum(dim=-1) + pairwise(vectors) + self.out(self.deep(vectors.flatten(-2)))[..., 0]


class DeepFM(Reranker[DeepFMConfig, _Network]):
    """Logit = ``sum_g w_g + sum_{g < h} v_g . v_h + perceptron([v_1; ...; v_4])`` over the fields g, h of a pair.

    See `Reranker` for the fields, the candidates, the training and the empty history. In the paper users have an id
    field; here people are their histories.
    """

    Config = DeepFMConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self.n_buckets)
