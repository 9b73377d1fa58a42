"""DCN-v2: cross layers multiply the fields, a perceptron bends them; together they rank candidates of another model.

Wang et al., "DCN V2: improved deep & cross network and practical lessons for web-scale learning to rank systems", WWW
2021.
Shapes: D numbers of a field.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.reranker import PairNetwork, Reranker, RerankerConfig
from recloop.nn.fields import CrossLayers, Perceptron


class DCNConfig(RerankerConfig):
    """Parameters of `DCN`; see `RerankerConfig` for the others.

    Attributes:
        layers: cross layers, and layers of the perceptron, each twice as wide as a field.
        rank: of the matrices of the cross layers; 6 x `dim` or more means full ones.
    """

    rank: int = Field(default=32, ge=1)


class _Network(PairNetwork):
    def __init__(self, config: DCNConfig, n_items: int, n_buckets: list[int]) -> None:
        super().__init__(n_items, config.dim, n_buckets)
        width = self.FIELDS * config.dim
        self.cross = CrossLayers(width, config.layers, config.rank)
        self.deep = Perceptron(width, 2 * config.dim, config.layers)
        self.out = nn.Linear(width + 2 * config.dim, 1)

    @override
    def initialise(self, known: list[Tensor], generator: torch.Generator) -> None:
        super().initialise(known, generator)
        self.cross.initialise(generator)
        self.deep.initialise(generator)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @override
    def correction(self, fields: Tensor) -> Tensor:
        start = fields.flatten(-2)
        return self.out(torch.cat([self.cross(start), self.deep(start)], dim=-1))[..., 0]


class DCN(Reranker[DCNConfig, _Network]):
    """Correction = ``w . [x_n; perceptron(x_0)] + b`` with the fields of a pair as ``x_0`` and n cross layers.

    ``x_{l+1} = x_0 * (U_l V_l x_l + b_l) + x_l``; cross layers and perceptron stand side by side.

    See `Reranker` for the fields, what is corrected, the candidates, the training and the empty history. In the paper
    users have an id field, nothing is corrected, and each pair is judged by itself, by log loss; here people are their
    histories, and candidates are compared.
    """

    Config = DCNConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self.n_buckets)
