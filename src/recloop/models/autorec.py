"""AutoRec: an autoencoder of ratings.

Sedhain, Menon, Sanner and Xie, "AutoRec: autoencoders meet collaborative filtering", WWW 2015; the form that encodes
people (U-AutoRec), since a person is the history.
Shapes: B contexts, I items, D dimensions of the code, N ratings of all B histories.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.autoencoders import Decoder, Encoder, cosines, initialise, with_nobody, with_one
from recloop.nn.dropout import Dropout
from recloop.nn.histories import Bags, BagStore
from recloop.nn.ratings import mean, mean_ratings
from recloop.search import Real, Space, Whole


class AutoRecConfig(NeuralConfig):
    """Parameters of `AutoRec`.

    Attributes:
        dim: length of the code, D.
        dropout: share of the ratings that is hidden in training.
        regularization: weight of the squared weights, beside the summed squared errors of all ratings.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Whole(50, 500, log=True),
        "learning_rate": Real(0.0005, 0.01, log=True),
        "regularization": Real(1, 1000, log=True),
        "dropout": Real(0, 0.8),
    }

    dim: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.002, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    regularization: float = Field(default=100.0, ge=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)


class _Network(nn.Module):
    """Ratings less their mean to the code; the decoder holds the items' vectors."""

    mean: Tensor

    def __init__(self, config: AutoRecConfig, n_items: int) -> None:
        super().__init__()
        self.drop = Dropout(config.dropout)
        self.encoder = Encoder(n_items, [config.dim])
        self.decoder = Decoder([config.dim], n_items)
        self.register_buffer("mean", torch.empty(()))

    @override
    def forward(self, bags: Bags, ratings: Tensor) -> Tensor:
        """The codes (B, D) for the `ratings` (N,) of the events."""
        return self.encoder(bags, self.drop(ratings - self.mean)).sigmoid()


class AutoRec(NeuralModel[AutoRecConfig, _Network]):
    """Scores are predicted ratings: ``r + b_i + w_i . sigmoid(V'x + c)``, with r the mean of all training ratings.

    ``x`` (I,) holds the ratings of the history less r, 0 where there is none; several ratings of one item count as
    their mean. ``V`` (I, D), ``c`` (D,), ``w_i`` (D,) and ``b_i`` are learned by minimising the squared error over the
    ratings that are known. There are no vectors of people, so a stranger is nothing special.

    The paper's penalty ``regularization / 2 (|V|^2 + |W|^2 + |b|^2)`` is added to the summed squared errors of all
    ratings, so rarely rated items stay near r. What differs from the paper: ratings are taken less their mean, so that
    an unrated item counts as an average one; biases of items are penalised too; Adam takes the steps, in which some
    ratings may be hidden (`dropout`); and every batch holds one empty history more, whose targets are all ratings of
    the batch, each counting ``1 / B``. So an empty history gets what the network learned to answer to one.

    The first layer adds up the rows of the rated items and the last is computed for the rated items alone: memory
    follows the ratings of a batch (N x D) and not people x items.
    """

    Config = AutoRecConfig
    per_item = frozenset({"encoder.first.weight", "decoder.items", "decoder.bias"})
    needs = frozenset({"values"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = mean_ratings(data.histories, self.n_items)
        self._matrix, self._mean = matrix[np.diff(matrix.indptr) > 0], mean(matrix)
        return self._matrix.shape[0]

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        initialise(self.network, generator)
        self.network.mean.fill_(self._mean)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        bags, ratings = self._batch(self._matrix[rows])
        codes = self.network(with_nobody(bags), ratings)
        decoder = self.network.decoder
        of_event = nn.functional.embedding(bags.rows, codes[:-1])
        own = (of_event * nn.functional.embedding(bags.items, decoder.items)).sum(dim=1) + decoder.bias[bags.items]
        of_nobody = (decoder.items @ codes[-1] + decoder.bias)[bags.items]
        wanted = ratings - self.network.mean
        errors = (own - wanted).square().sum() + (of_nobody - wanted).square().sum() / len(rows)
        weights = (self.network.encoder.first.weight, decoder.items, decoder.bias)
        penalty = torch.stack([weight.square().sum() for weight in weights]).sum() / 2
        return errors / len(ratings) + self.config.regularization / self._matrix.nnz * penalty

    def _batch(self, matrix: sparse.csr_matrix) -> tuple[Bags, Tensor]:
        """The rows of `matrix` (B, I) as bags, and the ratings of their events, float32 (N,)."""
        return BagStore(matrix).all(self.device), torch.from_numpy(matrix.data).to(self.device)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        return with_one(self.network(*self._batch(mean_ratings(contexts, self.n_items))))

    @override
    def item_vectors(self) -> Tensor:
        vectors = self.network.decoder.item_vectors()
        vectors[:, -1] += self.network.mean
        return vectors

    @override
    def similar(self, items: list[int]) -> Tensor:
        return cosines(self.network.decoder.items, items)
