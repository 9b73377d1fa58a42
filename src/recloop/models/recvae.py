"""RecVAE: a variational autoencoder of histories whose prior remembers, trained side by side.

Shenbin, Alekseev, Tutubalina, Malykh and Nikolenko, "RecVAE: a new variational autoencoder for top-N recommendations
with implicit feedback", WSDM 2020.
Shapes: B contexts, I items, D dimensions of the code.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.autoencoder import Autoencoder, AutoencoderNetwork
from recloop.models.base import FitContext
from recloop.models.neural import NeuralConfig
from recloop.nn.autoencoders import BagLinear, Decoder, Linear, unit_weights
from recloop.nn.dropout import Dropout
from recloop.nn.histories import Bags
from recloop.search import Real, Space, Whole

_SHARES = (0.15, 0.75, 0.1)
_WIDE_LOG_VARIANCE = 10.0


class RecVAEConfig(NeuralConfig):
    """Parameters of `RecVAE`.

    Attributes:
        dim: length of the code, D.
        hidden: width of the encoder's layers.
        layers: of the encoder, each of which sees all before it.
        dropout: share of the history that is hidden while the encoder learns.
        beta: weight of the divergence from the prior for each item of a history.
        encoder_passes: how often the encoder goes over the data before the decoder does once.
        epochs: most rounds of `encoder_passes` and one pass of the decoder.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Whole(50, 400, log=True),
        "learning_rate": Real(0.0001, 0.005, log=True),
        "dropout": Real(0.2, 0.8),
        "beta": Real(0.0005, 0.05, log=True),
    }

    dim: int = Field(default=200, ge=1)
    hidden: int = Field(default=600, ge=1)
    layers: int = Field(default=5, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    beta: float = Field(default=0.005, ge=0)
    encoder_passes: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=0.002, gt=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=50, ge=1)


class _Encoder(nn.Module):
    """``h_k = norm(swish(W_k h_(k-1) + h_1 + ... + h_(k-1)))``, then mean and logarithm of the variance of the code."""

    def __init__(self, config: RecVAEConfig, n_items: int) -> None:
        super().__init__()
        self.drop = Dropout(config.dropout)
        self.first = BagLinear(n_items, config.hidden)
        self.rest = nn.ModuleList(Linear(config.hidden, config.hidden) for _ in range(config.layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(config.hidden) for _ in range(config.layers))
        self.code = Linear(config.hidden, 2 * config.dim)

    @override
    def forward(self, bags: Bags, *, whole: bool = False) -> tuple[Tensor, Tensor]:
        """(B, D) each; nothing is hidden outside training, nor where the `whole` histories are asked for."""
        weights = unit_weights(bags)
        state = self.norms[0](nn.functional.silu(self.first(bags, weights if whole else self.drop(weights))))
        before = state
        for layer, norm in zip(self.rest, list(self.norms)[1:], strict=True):
            state = norm(nn.functional.silu(layer(state) + before))
            before = before + state
        mean, log_variance = self.code(state).chunk(2, dim=1)
        return mean, log_variance


class _Network(AutoencoderNetwork):
    """The decoder has no hidden layers: H is D."""

    def __init__(self, config: RecVAEConfig, n_items: int) -> None:
        super().__init__()
        self.encoder = _Encoder(config, n_items)
        self.decoder = Decoder([config.dim], n_items)

    @override
    def forward(self, bags: Bags) -> Tensor:
        """The mean code, (B, D)."""
        mean, _ = self.encoder(bags)
        return mean


class RecVAE(Autoencoder[RecVAEConfig, _Network]):
    """Scores = ``m . w_i + b_i`` with ``m`` (D,) the mean code of the history: logits of what is taken.

    A round of training is `encoder_passes` over the data that change the encoder alone, with a share of each history
    hidden, and one that changes the decoder alone, with nothing hidden. Both minimise, averaged over people,
    ``-sum_i x_i log softmax(logits(z))_i + beta n (log q(z | x) - log p(z | x))`` with one draw of z from the
    encoder's normal distribution q for each person of n items; the decoder's part is the first term. Each dimension of
    the prior p is a mixture: 0.15 of a standard normal, 0.75 of what the encoder of the round before said of the whole
    history, so that what was learned is not lost, and 0.1 of a normal with a variance of exp(10). Scores are computed
    from the mean with nothing hidden. There are no vectors of people, so a stranger is nothing special.

    An empty history gets what the network learned to answer to one: unlike in the paper, every batch holds one empty
    history more, whose target is the average of the others. One Adam serves both parts, as each parameter has its own
    moments. The first layer adds up the rows of the history's items, and at most `nn.autoencoders.MAX_LOGITS` logits
    exist at once, so memory follows the events and not people x items.
    """

    Config = RecVAEConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def advance(self, context: FitContext) -> float:
        """One round; returns the mean reconstruction loss of the decoder's pass."""
        self._former = deepcopy(self.network.encoder).requires_grad_(requires_grad=False)
        for _ in range(self.config.encoder_passes):
            self._let_learn(self.network.encoder)
            super().advance(context)
        self._let_learn(self.network.decoder)
        return super().advance(context)

    @property
    @override
    def no_privacy(self) -> str | None:
        return "a round of it is several passes, whose steps are not counted"

    @override
    def learn(self, bags: Bags, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        encoder_learns = self.network.encoder.code.weight.requires_grad
        mean, log_variance = self.network.encoder(bags, whole=not encoder_learns)
        code = mean + torch.randn(mean.shape, generator=generator, device=self.device) * (log_variance / 2).exp()
        if not encoder_learns:
            return code, None
        ratio = normal_log_density(code, mean, log_variance) - self._prior(bags, code)
        return code, self.config.beta * bags.lengths * ratio.sum(dim=1)

    def _let_learn(self, part: nn.Module) -> None:
        """Only the parameters of this `part` of the network get gradients, so only they are changed."""
        self.network.requires_grad_(requires_grad=False)
        part.requires_grad_()

    def _prior(self, bags: Bags, code: Tensor) -> Tensor:
        """Logarithm of the prior's density in each dimension of each person's `code`, (B, D)."""
        mean, log_variance = self._former(bags, whole=True)
        zero = torch.zeros_like(mean)
        parts = ((zero, zero), (mean, log_variance), (zero, zero + _WIDE_LOG_VARIANCE))
        densities = [
            math.log(share) + normal_log_density(code, *part) for share, part in zip(_SHARES, parts, strict=True)
        ]
        return torch.stack(densities).logsumexp(dim=0)


def normal_log_density(value: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """``log N(value | mean, exp(log_variance))``, of the shape of the three."""
    return -(log_variance + math.log(2 * math.pi) + (value - mean).square() / log_variance.exp()) / 2
