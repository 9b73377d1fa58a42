"""Matrix factorisation of ratings, with biases, by alternating least squares.

Koren, Bell and Volinsky, "Matrix factorization techniques for recommender systems", IEEE Computer 2009; ridges that
grow with the number of ratings as in Zhou, Wilkinson, Schreiber and Pan, "Large-scale parallel collaborative filtering
for the Netflix prize", AAIM 2008.
Shapes: B contexts, I items, U users, D factors, N ratings; R rows of a chunk, L the longest of them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, IterativeModel, ModelConfig, TrainingData
from recloop.nn.ratings import mean, mean_ratings
from recloop.nn.ridge import Chunk, UnsolvableError, chunks, solve
from recloop.search import Real, Space, Whole


class MFConfig(ModelConfig):
    """Parameters of `MF`.

    Attributes:
        factors: length of the vectors, D.
        regularization: ridge on every vector, for each of its ratings.
        shrink: ridge on every bias: a mean over this many ratings moves halfway from 0 to what its ratings say.
        iterations: passes, each solving all users and then all items.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "factors": Whole(8, 128, log=True),
        "regularization": Real(0.01, 1.0, log=True),
        "shrink": Real(0.1, 50.0, log=True),
    }

    factors: int = Field(default=32, ge=1)
    regularization: float = Field(default=0.1, gt=0)
    shrink: float = Field(default=5.0, gt=0)
    iterations: int = Field(default=15, ge=1)


class MF(IterativeModel[MFConfig]):
    """Predicted rating = ``mu + b_u + b_i + p_u . q_i``, with ``mu`` the mean of all ratings.

    Minimises ``sum (r_ui - mu - b_u - b_i - p_u . q_i)^2 + regularization (sum_u n_u |p_u|^2 + sum_i n_i |q_i|^2) +
    shrink (sum_u b_u^2 + sum_i b_i^2)`` over the N ratings, ``n`` being the ratings of a user or item. A user's bias
    and vector are solved together, exactly, given those of the items, and the other way round. Only the items' are
    kept: those of any history are the exact minimiser for it, solved in float64 when scores are asked for. A history
    without ratings gets ``mu + b_i``; an item that nobody rated ``mu + b_u``. Ratings of one item by one person are
    averaged. Koren et al. take steps down the gradient instead, and their ridges do not grow with ``n``.

    Scores are ratings, so errors such as rmse are defined. Nothing is learnt from what people chose not to rate: to
    choose what to show, a model of implicit feedback such as `als` ranks better. The loss of a pass is the objective
    over the number of ratings.
    """

    Config = MFConfig
    per_item = frozenset({"items", "biases"})
    needs = frozenset({"values"})

    @property
    @override
    def epochs(self) -> int:
        return self.config.iterations

    @override
    def begin(self, data: TrainingData, context: FitContext) -> None:
        ratings = mean_ratings(data.histories, self.n_items)
        mu = torch.tensor(mean(ratings), dtype=torch.float32)
        self._by_user = list(chunks(ratings, self.device))
        self._by_item = list(chunks(sparse.csr_matrix(ratings.T), self.device))
        self._n_users, self._n_ratings = len(data.histories), max(1, ratings.nnz)
        generator = torch.Generator().manual_seed(context.seed)
        items = 0.1 * torch.randn(self.n_items, self.config.factors, generator=generator)
        self.load_tensors({"items": items, "biases": torch.zeros(self.n_items), "mean": mu})

    @override
    def _take_over(self, tensors: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """New items begin with zeros, which an item without ratings has; the mean is that of the new ratings."""
        items = self._carried(tensors, "items", torch.zeros_like(self._items), rows)
        biases = self._carried(tensors, "biases", torch.zeros_like(self._biases), rows)
        self.load_tensors({"items": items, "biases": biases, "mean": self._mean})

    @override
    def advance(self, context: FitContext) -> float:
        users, _ = self._solve(self._by_user, _padded(self._items, self._biases), self._n_users)
        penalty = self._penalty(self._by_user, users)
        items, misfit = self._solve(self._by_item, _padded(users[:, 1:], users[:, 0]), self.n_items)
        self.load_tensors({"items": items[:, 1:].contiguous(), "biases": items[:, 0].clone(), "mean": self._mean})
        return (misfit + penalty) / self._n_ratings

    @override
    def training_state(self) -> dict[str, Any]:
        return self.tensors()

    @override
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.load_tensors(state)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"items": self._items, "biases": self._biases, "mean": self._mean}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._items = self._tensor(tensors, "items", (self.n_items, self.config.factors))
        self._biases = self._tensor(tensors, "biases", (self.n_items,))
        self._mean = self._tensor(tensors, "mean", ())

    @override
    def user_vectors(self, contexts: Contexts) -> Tensor:
        """``(mu + b_u, 1, p_u)``, float32 (B, 2 + D)."""
        rows = chunks(mean_ratings(contexts, self.n_items), self.device)
        users, _ = self._solve(rows, _padded(self._items, self._biases).double(), len(contexts))
        return torch.cat([users[:, :1] + self._mean, torch.ones_like(users[:, :1]), users[:, 1:]], dim=1).float()

    @override
    def item_vectors(self) -> Tensor:
        """``(1, b_i, q_i)``, float32 (I, 2 + D)."""
        return torch.cat([torch.ones_like(self._biases)[:, None], self._biases[:, None], self._items], dim=1)

    @override
    def similar(self, items: list[int]) -> Tensor:
        """The cosine of ``q_i``, without biases."""
        unit = torch.nn.functional.normalize(self._items, dim=1)
        return unit[items] @ unit.T

    def _ridges(self, lengths: Tensor) -> Tensor:
        """The ridge on a row's bias and on each of its D factors, (R, 1 + D), given its number of ratings (R,)."""
        factors = (self.config.regularization * lengths)[:, None].expand(-1, self.config.factors)
        return torch.cat([lengths.new_full((len(lengths), 1), self.config.shrink), factors], dim=1)

    def _penalty(self, rows: Iterable[Chunk], solved: Tensor) -> float:
        return sum((self._ridges(chunk.lengths) * solved[chunk.rows].square()).sum().item() for chunk in rows)

    def _solve(self, rows: Iterable[Chunk], padded: Tensor, n_rows: int) -> tuple[Tensor, float]:
        """The minimising biases and vectors of one side given those of the other, in the precision of `padded`.

        Args:
            rows: the rows to solve.
            padded: (n_columns + 1, 1 + D), biases and vectors of the other side and a row of zeros.
            n_rows: rows of the result.

        Returns:
            Biases and vectors (n_rows, 1 + D), zero for rows without ratings; and the squared errors and ridges that
            they leave.
        """
        solved, left = padded.new_zeros(n_rows, padded.shape[1]), 0.0
        for chunk in rows:
            others = torch.nn.functional.embedding(chunk.columns, padded)
            present = (chunk.columns < len(padded) - 1).to(padded.dtype)
            residuals = (chunk.values - self._mean - others[:, :, 0]) * present
            features = torch.cat([present[:, :, None], others[:, :, 1:]], dim=2)
            systems = torch.bmm(features.mT, features)
            systems.diagonal(dim1=1, dim2=2).add_(self._ridges(chunk.lengths))
            try:
                solved[chunk.rows], gains = solve(systems, (features.mT @ residuals[:, :, None])[:, :, 0])
            except UnsolvableError:
                raise ModelError(
                    f"mf cannot solve for its vectors with regularization {self.config.regularization:g}; raise it."
                ) from None
            left += (residuals.square().sum(dtype=torch.float64) - gains.sum(dtype=torch.float64)).item()
        return solved, left


def _padded(vectors: Tensor, biases: Tensor) -> Tensor:
    """Biases (R,) and vectors (R, D) side by side, and a row of zeros."""
    return torch.nn.functional.pad(torch.cat([biases[:, None], vectors], dim=1), (0, 0, 0, 1))
