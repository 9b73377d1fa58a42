"""DCN-v2: cross layers multiply the fields, a perceptron bends them; together they rank candidates of another model.

Wang et al., "DCN V2: improved deep & cross network and practical lessons for web-scale learning to rank systems", WWW
2021.
Shapes: B people or contexts, I items, U training people, D numbers of a field, T items to predict, P pairs.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.reranker import PairNetwork, Reranker, RerankerConfig
from recloop.nn.fields import CrossLayers, PairFields, Perceptron


class DCNConfig(RerankerConfig):
    """Parameters of `DCN`; see `RerankerConfig` for the others.

    Attributes:
        layers: cross layers, and layers of the perceptron, each twice as wide as a field.
        rank: of the matrices of the cross layers; 4 x `dim` or more means full ones.
    """

    rank: int = Field(default=32, ge=1)


class _Network(PairNetwork):
    def __init__(self, config: DCNConfig, n_items: int, n_buckets: list[int]) -> None:
        super().__init__()
        self.fields = PairFields(n_items, config.dim, n_buckets)
        self.cross = CrossLayers(4 * config.dim, config.layers, config.rank)
        self.deep = Perceptron(4 * config.dim, 2 * config.dim, config.layers)
        self.out = nn.Linear(6 * config.dim, 1)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.cross.initialise(generator)
        self.deep.initialise(generator)
        nn.init.normal_(self.out.weight, std=0.1, generator=generator)
        nn.init.zeros_(self.out.bias)

    @override
    def forward(self, people: Tensor, items: Tensor) -> Tensor:
        """Logits of pairs, (...), from the fields of both sides, (..., 2, D)."""
        fields = torch.cat([people, items], dim=-2).flatten(-2)
        return self.out(torch.cat([self.cross(fields), self.deep(fields)], dim=-1))[..., 0]


class DCN(Reranker[DCNConfig, _Network]):
    """Logit = ``w . [x_n; perceptron(x_0)] + b`` with the fields of a pair as ``x_0`` and n cross layers.

    ``x_{l+1} = x_0 * (U_l V_l x_l + b_l) + x_l``; cross layers and perceptron stand side by side.

    See `Reranker` for the fields, the candidates, the training and the empty history. In the paper users have an id
    field; here people are their histories.
    """

    Config = DCNConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self.n_buckets)
