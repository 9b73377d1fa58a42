"""What autoencoders of histories with a multinomial likelihood have in common; each says how it makes and learns codes.

Liang, Krishnan, Hoffman and Jebara, "Variational autoencoders for collaborative filtering", WWW 2018.
Shapes: B contexts, I items, H width of the last hidden layer.
"""

from abc import abstractmethod
from typing import Generic

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import TypeVar, override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.autoencoders import Decoder, cosines, initialise, multinomial_loss, targets_with_nobody, with_one
from recloop.nn.histories import Bags, BagStore


class AutoencoderNetwork(nn.Module):
    """Makes of a history the last hidden layer; the decoder holds the items' vectors."""

    decoder: Decoder

    @override
    @abstractmethod
    def forward(self, bags: Bags) -> Tensor:
        """The last hidden layer (B, H) of each history, of which the logits are made; no code is drawn."""


C_co = TypeVar("C_co", bound=NeuralConfig, default=NeuralConfig, covariant=True)
N = TypeVar("N", bound=AutoencoderNetwork, default=AutoencoderNetwork)


class Autoencoder(NeuralModel[C_co, N], Generic[C_co, N]):
    """Scores = ``h . w_i + b_i`` with ``h`` (H,) what the network makes of the history: the logits of what is taken.

    A training example is a person with events. There are no vectors of people, so a stranger is nothing special. An
    empty history gets what the network learned to answer to one: every batch holds one empty history more, whose target
    is the average of the others. Items are alike by the cosine of their vectors ``w_i``, without the biases.
    """

    large_products = True
    per_item = frozenset({"encoder.first.weight", "decoder.items", "decoder.bias"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._people = BagStore(matrix[np.diff(matrix.indptr) > 0])
        return len(self._people)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        initialise(self.network, generator)

    def reconstruction_loss(self, hidden: Tensor, people: Bags) -> Tensor:
        """``-sum_i x_i log softmax(logits)_i``, averaged over `people` (B,) and nobody, from `hidden` (B + 1, H)."""
        decoder = self.network.decoder
        return multinomial_loss(hidden, decoder.items, decoder.bias, targets_with_nobody(people))

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return with_one(self.network(BagStore(contexts.matrix(self.n_items)).all(self.device)))

    @override
    def item_vectors(self) -> Tensor:
        return self.network.decoder.item_vectors()

    @override
    def similar(self, items: list[int]) -> Tensor:
        return cosines(self.network.decoder.items, items)
