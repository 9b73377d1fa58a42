"""Mult-DAE: a denoising autoencoder of histories with a multinomial likelihood.

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


class MultDAEConfig(NeuralConfig):
    """Parameters of `MultDAE`.

    Attributes:
        dim: length of the code, D.
        hidden: width of the layers between code and items.
        layers: such layers on each side; with none, the code is followed by the logits at once.
        dropout: share of the history that is hidden in training.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Whole(50, 400, log=True),
        "layers": Whole(0, 1),
        "learning_rate": Real(0.0003, 0.01, log=True),
        "dropout": Real(0.2, 0.8),
        "weight_decay": Real(0.0001, 1, log=True),
    }

    dim: int = Field(default=200, ge=1)
    hidden: int = Field(default=600, ge=1)
    layers: int = Field(default=0, ge=0)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    learning_rate: float = Field(default=0.005, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=100, ge=1)


class _Network(AutoencoderNetwork):
    """Bags to the last hidden layer; the decoder holds the items' vectors."""

    def __init__(self, config: MultDAEConfig, n_items: int) -> None:
        super().__init__()
        between = [config.hidden] * config.layers
        self.drop = Dropout(config.dropout)
        self.encoder = Encoder(n_items, [*between, config.dim])
        self.decoder = Decoder([config.dim, *between], n_items)

    @override
    def forward(self, bags: Bags) -> Tensor:
        """(B, H)."""
        return self.decoder(self.encoder(bags, self.drop(unit_weights(bags))).tanh())


class MultDAE(Autoencoder[MultDAEConfig, _Network]):
    """Scores = ``h . w_i + b_i`` with ``h`` (H,) what the network makes of the history: the logits of what is taken.

    The history x (I,), ones and zeros, is divided by its length ``|x|``, a share of it is hidden, and the network
    ``I -> D -> I`` (or ``I -> hidden -> D -> hidden -> I`` with `layers` of 1), tanh after each layer but the last,
    is trained to give all of it a high likelihood: ``-sum_i x_i log softmax(logits)_i``, averaged over people. Nothing
    is hidden when scores are asked for. There are no vectors of people, so a stranger is nothing special.

    An empty history gets what the network learned to answer to one: unlike in the paper, every batch holds one empty
    history more, whose target is the average of the others. The first layer adds up the rows of the history's items,
    and at most `nn.autoencoders.MAX_LOGITS` logits exist at once, so memory follows the events and not people x items.
    """

    Config = MultDAEConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def learn(self, bags: Bags, generator: torch.Generator) -> tuple[Tensor, None]:
        return self.network(bags), None
