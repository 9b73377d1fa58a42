"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood.

Liang, Krishnan, Hoffman and Jebara, "Variational autoencoders for collaborative filtering", WWW 2018.
Shapes: B contexts, I items, D dimensions of the code, H width of the last hidden layer.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from recloop.models.autoencoder import Autoencoder, AutoencoderNetwork
from recloop.models.neural import NeuralConfig
from recloop.nn.autoencoders import Decoder, Encoder, unit_weights
from recloop.nn.dropout import Dropout
from recloop.nn.histories import Bags
from recloop.search import Real, Space, Whole


class MultVAEConfig(NeuralConfig):
    """Parameters of `MultVAE`.

    Attributes:
        dim: length of the code, D.
        hidden: width of the layers between code and items.
        layers: such layers on each side.
        dropout: share of the history that is hidden in training.
        beta: largest weight of the divergence from the prior.
        annealing: passes in which that weight grows evenly from 0 to `beta`; 0 starts with `beta`.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Whole(50, 400, log=True),
        "learning_rate": Real(0.0003, 0.01, log=True),
        "dropout": Real(0.2, 0.8),
        "beta": Real(0.01, 1, log=True),
    }

    dim: int = Field(default=200, ge=1)
    hidden: int = Field(default=600, ge=1)
    layers: int = Field(default=1, ge=0)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    beta: float = Field(default=0.2, ge=0)
    annealing: int = Field(default=50, ge=0)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=100, ge=1)


class _Network(AutoencoderNetwork):
    """Bags to a normal distribution of codes, and codes to the last hidden layer."""

    def __init__(self, config: MultVAEConfig, n_items: int) -> None:
        super().__init__()
        between = [config.hidden] * config.layers
        self.drop = Dropout(config.dropout)
        self.encoder = Encoder(n_items, [*between, 2 * config.dim])
        self.decoder = Decoder([config.dim, *between], n_items)

    def encode(self, bags: Bags) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the code, (B, D) each."""
        mean, log_variance = self.encoder(bags, self.drop(unit_weights(bags))).float().chunk(2, dim=1)
        return mean, log_variance

    @override
    def forward(self, bags: Bags) -> Tensor:
        """Decoded from the mean code, (B, H)."""
        mean, _ = self.encode(bags)
        return self.decoder(mean)


class MultVAE(Autoencoder[MultVAEConfig, _Network]):
    """Scores = ``h . w_i + b_i`` with ``h`` (H,) decoded from the mean code of the history: logits of what is taken.

    The history x (I,), ones and zeros, is divided by its length ``|x|`` and a share of it is hidden. The encoder
    ``I -> hidden -> 2 D`` gives mean m and variance s^2 of a code z, the decoder ``D -> hidden -> I`` the logits; tanh
    follows the hidden layers. Training minimises, averaged over people,
    ``-sum_i x_i log softmax(logits(z))_i + b KL(N(m, s^2) || N(0, 1))`` with one draw of z for each person; b grows
    from 0 to `beta` step by step. Scores are computed from m with nothing hidden, and nothing is drawn. There are no
    vectors of people, so a stranger is nothing special.

    An empty history gets what the network learned to answer to one: unlike in the paper, every batch holds one empty
    history more, whose target is the average of the others; and annealing is counted in passes, not in steps. The
    first layer adds up the rows of the history's items, and at most `nn.autoencoders.MAX_LOGITS` logits exist at once,
    so memory follows the events and not people x items.
    """

    Config = MultVAEConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def learn(self, bags: Bags, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.network.encode(bags)
        noise = torch.randn(mean.shape, generator=generator, device=self.device)
        divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=1) / 2
        return self.network.decoder(mean + noise * (log_variance / 2).exp()), self._weight() * divergence

    def _weight(self) -> float:
        """Of the divergence, after the passes and the part of a pass that were made so far."""
        if not self.config.annealing:
            return self.config.beta
        return self.config.beta * min(1.0, self.passed / self.config.annealing)
