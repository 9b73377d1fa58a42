"""SVD++ for people who have no vector of their own: ratings, and the choice of what to rate, make the person.

Koren, "Factorization meets the neighborhood: a multifaceted collaborative filtering model", KDD 2008: SVD++, in the
form that he calls Asymmetric-SVD.
Shapes: B people, I items, D dimensions, N ratings of a batch of people.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.ratings import mean, mean_ratings
from recloop.search import Real, Space


class SVDPPConfig(NeuralConfig):
    """Parameters of `SVDPP`.

    Attributes:
        dim: length of the vectors, D.
        shrink: a person's bias over this many ratings is half the mean of what they say.
        regularization: ridge on the item's bias and on the two vectors that a rating multiplies.

    A training example is a person, with all ratings at once.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "regularization": Real(0.01, 1.0, log=True),
    }

    dim: int = Field(default=32, ge=1)
    shrink: float = Field(default=5.0, gt=0)
    regularization: float = Field(default=0.05, ge=0)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=15, ge=1)


class _Network(nn.Module):
    """Biases ``b_i``, vectors ``q_i`` of what is to be rated; of what was, ``x_j`` by its rating and ``y_j`` at all."""

    mean: Tensor

    def __init__(self, config: SVDPPConfig, n_items: int) -> None:
        super().__init__()
        self.shrink = config.shrink
        self.items = nn.Embedding(n_items, config.dim)
        self.rated = nn.Embedding(n_items, config.dim)
        self.chosen = nn.Embedding(n_items, config.dim)
        self.biases = nn.Embedding(n_items, 1)
        self.register_buffer("mean", torch.empty(()))

    @override
    def forward(self, ratings: "_Ratings", *, without_each: bool = False) -> tuple[Tensor, Tensor]:
        """``b_u`` and ``p_u`` of all people, (B, 1) and (B, D), or of each rating's without it, (N, 1) and (N, D)."""
        rows, items = ratings.rows, ratings.items
        said = ratings.values[:, None] - self.mean - self.biases(items)
        parts = torch.cat([said, torch.ones_like(said), self.rated(items), said * self.rated(items)], dim=1)
        parts = torch.cat([parts, self.chosen(items)], dim=1)
        sums = parts.new_zeros(ratings.n_people, parts.shape[1]).index_add(0, rows, parts)
        if without_each:
            sums = sums[rows] - parts
        dim = self.items.embedding_dim
        total, counts, plain, weighted, chosen = sums.split([1, 1, dim, dim, dim], dim=1)
        bias = total / (self.shrink + counts)
        return bias, (weighted - bias * plain + chosen) * counts.clamp(min=1) ** -0.5


class SVDPP(NeuralModel[SVDPPConfig, _Network]):
    """Predicted rating = ``mu + b_u + b_i + p_u . q_i``, where the n ratings of the history make the person.

    ``p_u = n^-1/2 sum_j ((r_uj - mu - b_u - b_j) x_j + y_j)`` and ``b_u = sum_j (r_uj - mu - b_j) / (shrink + n)``,
    with ``mu`` the mean of all ratings. Minimises the mean over all ratings of the squared error and
    ``regularization (b_i^2 + |q_i|^2 + |p_u|^2)``.

    SVD++ proper adds a vector for each user, which strangers do not have; this is the form that Koren calls
    Asymmetric-SVD. Here the rating that is to be predicted is left out of ``b_u`` and ``p_u`` in training, as it is
    when the model is asked; ``b_u`` follows from the history instead of being learnt; and all ratings of a person are
    examples of one step. A history without ratings gets ``mu + b_i``. Ratings of one item by one person are averaged.
    Scores are ratings, so errors such as rmse are defined; to choose what to show, a model of implicit feedback ranks
    better.
    """

    Config = SVDPPConfig
    per_item = frozenset({"items.weight", "rated.weight", "chosen.weight", "biases.weight"})
    needs = frozenset({"values"})

    @override
    def begin(self, data: TrainingData, context: FitContext) -> None:
        """As its parent does, but ratings that are all alike are accepted: whoever trains has checked needs."""
        self._n_examples = self.prepare(data, context)
        self.network = self._allocated()
        with torch.no_grad():
            self.initialise(torch.Generator(self.device).manual_seed(context.seed))
        self.optimiser = self.new_optimiser()
        self._epoch = 0
        self.network.eval()

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        self._mean = mean(mean_ratings(data.histories, self.n_items))
        self._histories = data.histories.take(np.flatnonzero(data.histories.lengths))
        return len(self._histories)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        network = self.network
        for table in (network.items, network.rated, network.chosen):
            nn.init.normal_(table.weight, std=0.1 / self.config.dim**0.5, generator=generator)
        nn.init.zeros_(network.biases.weight)
        network.mean.fill_(self._mean)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        ratings = _Ratings(self._histories.take(rows), self.n_items, self.device)
        person_biases, people = self.network(ratings, without_each=True)
        items, biases = self.network.items(ratings.items), self.network.biases(ratings.items)
        products = (people * items).sum(dim=1, keepdim=True)
        errors = ratings.values[:, None] - self.network.mean - person_biases - biases - products
        ridge = biases.square().sum() + items.square().sum() + people.square().sum()
        return (errors.square().sum() + self.config.regularization * ridge) / len(errors)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        """``(mu + b_u, 1, p_u)``, (B, 2 + D)."""
        biases, people = self.network(_Ratings(contexts, self.n_items, self.device))
        return torch.cat([self.network.mean + biases, torch.ones_like(biases), people], dim=1)

    @override
    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """``(1, b_i, q_i)``, (I, 2 + D)."""
        biases = self.network.biases.weight
        return torch.cat([torch.ones_like(biases), biases, self.network.items.weight], dim=1)

    @override
    def similar(self, items: list[int]) -> Tensor:
        """The cosine of ``q_i``, without biases."""
        unit = nn.functional.normalize(self.item_vectors()[:, 2:], dim=1)
        return unit[items] @ unit.T


class _Ratings:
    """N ratings of B people: `rows` int64 (N,), `items` int64 (N,), `values` float32 (N,)."""

    def __init__(self, contexts: Contexts, n_items: int, device: torch.device) -> None:
        matrix = mean_ratings(contexts, n_items)
        self.n_people = len(contexts)
        self.rows = torch.from_numpy(np.repeat(np.arange(len(contexts)), matrix.getnnz(axis=1))).to(device)
        self.items = torch.from_numpy(matrix.indices.astype(np.int64)).to(device)
        self.values = torch.from_numpy(matrix.data).to(device)
