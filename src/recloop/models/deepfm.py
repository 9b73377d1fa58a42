"""DeepFM: a factorisation machine and a perceptron over the same fields rank the candidates of another model.

Guo et al., "DeepFM: a factorization-machine based neural network for CTR prediction", IJCAI 2017.
Shapes: D numbers of a field.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.reranker import PairNetwork, Reranker, RerankerConfig
from recloop.nn.fields import Perceptron, pairwise


class DeepFMConfig(RerankerConfig):
    """Parameters of `DeepFM`; see `RerankerConfig` for the others.

    Attributes:
        layers: of the perceptron, each twice as wide as a field.
    """


class _Network(PairNetwork):
    """Each field has one number more than D: its own weight in the logit."""

    def __init__(self, config: DeepFMConfig, n_items: int, n_buckets: list[int]) -> None:
        super().__init__(n_items, config.dim + 1, n_buckets)
        self.deep = Perceptron(self.FIELDS * config.dim, 2 * config.dim, config.layers)
        self.out = nn.Linear(2 * config.dim, 1)

    @override
    def initialise(self, known: list[Tensor], generator: torch.Generator) -> None:
        super().initialise(known, generator)
        self.deep.initialise(generator)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @override
    def correction(self, fields: Tensor) -> Tensor:
        weights, vectors = fields[..., 0], fields[..., 1:]
        return weights.sum(dim=-1) + pairwise(vectors) + self.out(self.deep(vectors.flatten(-2)))[..., 0]


class DeepFM(Reranker[DeepFMConfig, _Network]):
    """Correction = ``sum_g w_g + sum_{g < h} v_g . v_h + perceptron([v_1; ...; v_6])`` over the fields g, h of a pair.

    See `Reranker` for the fields, what is corrected, the candidates, the training and the empty history. In the paper
    users have an id field, nothing is corrected, and each pair is judged by itself, by log loss; here people are their
    histories, and candidates are compared.
    """

    Config = DeepFMConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self.n_buckets)
