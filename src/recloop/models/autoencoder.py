"""What autoencoders of histories with a multinomial likelihood have in common; each says how it makes and learns codes.

Liang, Krishnan, Hoffman and Jebara, "Variational autoencoders for collaborative filtering", WWW 2018.
Shapes: B contexts, I items, H width of the last hidden layer.
"""

from abc import abstractmethod
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import TypeVar, override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.autoencoders import (
    BagLinear,
    Decoder,
    cosines,
    initialise,
    multinomial_loss,
    multinomial_slopes,
    own_targets,
    targets_with_nobody,
    with_nobody,
    with_one,
)
from recloop.nn.histories import Bags, BagStore
from recloop.nn.private import Clipped, clip_factors, row_squares, watching


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
    is the average of the others. Private training leaves that one out, as it belongs to nobody: the answer to an empty
    history is then what the rest makes of it. Items are alike by the cosine of their vectors ``w_i``, without the
    biases.

    The loss is ``-sum_i x_i log softmax(logits)_i`` and what `learn` adds, averaged over people and nobody.
    """

    large_products = True
    per_item = frozenset({"encoder.first.weight", "decoder.items", "decoder.bias"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._people = BagStore(matrix[np.diff(matrix.indptr) > 0])
        return len(self._people)

    @abstractmethod
    def learn(self, bags: Bags, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """The last hidden layer (B, H) as training makes it, and what is added to each one's loss (B,), if anything."""

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        people = self._people.batch(rows, self.device)
        hidden, added = self.learn(with_nobody(people), generator)
        decoder = self.network.decoder
        loss = multinomial_loss(hidden, decoder.items, decoder.bias, targets_with_nobody(people))
        return loss if added is None else loss + added.mean()

    @override
    def owners(self) -> NDArray[np.int64]:
        return np.arange(len(self._people))

    @override
    def clipped_gradients(self, people: NDArray[np.int64], max_norm: float, generator: torch.Generator) -> Clipped:
        """Of all people at once: norms come from what goes in and out of each layer, gradients from a weighted loss."""
        parameters, decoder = list(self.network.parameters()), self.network.decoder
        if not len(people):
            return Clipped(sums=[torch.zeros_like(one) for one in parameters], loss=torch.zeros((), device=self.device))
        bags = self._people.batch(people, self.device)
        layers = [one for one in self.network.modules() if isinstance(one, BagLinear | nn.Linear)]
        with watching(layers, row_squares) as watched:
            hidden, added = self.learn(bags, generator)
        extra = hidden.new_zeros(len(bags)) if added is None else added
        with torch.no_grad():
            squares, slopes, loss = multinomial_slopes(hidden, decoder.items, decoder.bias, own_targets(bags))
            squares *= row_squares(hidden) + 1
        alone = (hidden * slopes).sum() + extra.sum()  # has the slopes of the sum of the losses
        of_layers = torch.autograd.grad(alone, watched.outputs, retain_graph=True)
        for square, slope in zip(watched.squares, of_layers, strict=True):
            squares = squares + square(slope)
        factors = clip_factors(squares, max_norm)
        targets = own_targets(bags, factors)
        clipped = multinomial_loss(hidden, decoder.items, decoder.bias, targets) * len(bags) + (extra * factors).sum()
        sums = torch.autograd.grad(clipped, parameters)
        return Clipped(sums=list(sums), loss=loss + extra.detach().sum())

    @override
    def initialise(self, generator: torch.Generator) -> None:
        initialise(self.network, generator)

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
