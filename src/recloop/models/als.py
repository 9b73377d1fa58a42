"""Matrix factorisation of implicit feedback by alternating least squares.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008.
Shapes: B contexts, I items, U users, D factors; R rows of a chunk, L the longest of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, IterativeModel, ModelConfig, TrainingData
from recloop.nn.products import inner_products

_CHUNK = 1 << 15


class ALSConfig(ModelConfig):
    """Parameters of `ALS`.

    Attributes:
        factors: length of the vectors, D.
        regularization: ridge on every vector.
        alpha: how much more an interaction counts than its absence.
        weighted: whether an interaction counts in proportion to its value, instead of all alike.
        iterations: passes, each solving all users and then all items.
    """

    factors: int = Field(default=64, ge=1)
    regularization: float = Field(default=10.0, gt=0)
    alpha: float = Field(default=1.0, gt=0)
    weighted: bool = False
    iterations: int = Field(default=15, ge=1)


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Rows of similar length, padded to the longest.

    Attributes:
        rows: int64 (R,), which rows of the matrix these are.
        columns: int64 (R, L), their entries; the number of columns stands for padding.
        weights: float32 (R, L), ``alpha * r`` of each entry, 0 where padded; `None` where all are alpha.
    """

    rows: Tensor
    columns: Tensor
    weights: Tensor | None


class ALS(IterativeModel[ALSConfig]):
    """Scores = ``x . y_i`` for a person's vector ``x`` (D,) and the items' vectors ``y_i`` (D,).

    Minimises ``sum_ui c_ui (p_ui - x_u . y_i)^2 + regularization (sum_u |x_u|^2 + sum_i |y_i|^2)`` over all pairs,
    with ``p_ui = 1`` and ``c_ui = 1 + alpha r_ui`` where u interacted with i, else 0 and 1; ``r_ui`` is 1, or the
    summed values if `weighted`. Only item vectors are kept: the vector of any history is the exact minimiser for it,
    solved in float64 when scores are asked for, so people of the training data are no special case. An empty history
    gets the mean vector of the training users. The loss of a pass is the objective over the number of interactions.
    """

    Config = ALSConfig

    @property
    @override
    def epochs(self) -> int:
        return self.config.iterations

    @override
    def begin(self, data: TrainingData, context: FitContext) -> None:
        matrix = self._interactions(data.histories)
        self._by_user = list(self._chunks(matrix, self.n_items))
        self._by_item = list(self._chunks(matrix.T.tocsr(), len(data.histories)))
        self._n_users, self._n_interactions = len(data.histories), max(1, matrix.nnz)
        self._confidence = matrix.nnz + self.config.alpha * float(matrix.data.sum(dtype=np.float64))
        generator = torch.Generator().manual_seed(context.seed)
        items = torch.randn(self.n_items, self.config.factors, generator=generator) / self.config.factors**0.5
        self.load_tensors({"items": items, "nobody": torch.zeros(self.config.factors)})

    @override
    def advance(self, context: FitContext) -> float:
        users, _ = self._solve(self._by_user, self._items, self._ridge(self._items), self._n_users)
        users = torch.cat([users, users.new_zeros(1, self.config.factors)])
        items, explained = self._solve(self._by_item, users, self._ridge(users), self.n_items)
        self.load_tensors({"items": items, "nobody": users.sum(dim=0) / max(1, self._n_users)})
        penalty = self.config.regularization * users.square().sum().item()
        return (self._confidence - explained + penalty) / self._n_interactions

    @override
    def training_state(self) -> dict[str, Any]:
        return self.tensors()

    @override
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.load_tensors(state)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"items": self.item_vectors(), "nobody": self._nobody}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        items = self._tensor(tensors, "items", (self.n_items, self.config.factors))
        self._nobody = self._tensor(tensors, "nobody", (self.config.factors,))
        self._items = torch.cat([items, items.new_zeros(1, self.config.factors)])
        self._fold_in_ridge = self._ridge(self._items.double())

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return inner_products(self.user_vectors(contexts), self.item_vectors())

    @override
    def user_vectors(self, contexts: Contexts) -> Tensor:
        chunks = self._chunks(self._interactions(contexts), self.n_items)
        vectors, _ = self._solve(chunks, self._items, self._fold_in_ridge, len(contexts))
        vectors[torch.from_numpy(contexts.lengths == 0).to(self.device)] = self._nobody.double()
        return vectors.float()

    @override
    def item_vectors(self) -> Tensor:
        return self._items[:-1]

    def _interactions(self, contexts: Contexts) -> sparse.csr_matrix:
        """``r``, float32 (U, I); negative values count as 0."""
        matrix = contexts.matrix(self.n_items, weighted=self.config.weighted)
        matrix.data = np.maximum(matrix.data, 0)
        return matrix

    def _chunks(self, matrix: sparse.csr_matrix, padding: int) -> Iterator[_Chunk]:
        """The rows of `matrix` that have entries, in order of length, so that little of a chunk is padding."""
        starts = np.asarray(matrix.indptr, dtype=np.int64)
        lengths = np.diff(starts)
        order = np.argsort(lengths, kind="stable")
        first = int((lengths == 0).sum())
        while first < len(order):
            sizes = lengths[order[first:]] * np.arange(1, len(order) - first + 1)
            stop = first + max(1, int(np.searchsorted(sizes, _CHUNK, side="right")))
            rows = order[first:stop]
            positions = np.arange(int(lengths[rows[-1]]))
            inside = positions < lengths[rows, None]
            entries = (starts[rows, None] + positions)[inside]
            columns = np.full(inside.shape, padding, dtype=np.int64)
            columns[inside] = matrix.indices[entries]
            weights = None
            if self.config.weighted:
                weights = np.zeros(inside.shape, dtype=np.float32)
                weights[inside] = self.config.alpha * matrix.data[entries]
            yield _Chunk(
                rows=torch.from_numpy(rows).to(self.device),
                columns=torch.from_numpy(columns).to(self.device),
                weights=None if weights is None else torch.from_numpy(weights).to(self.device),
            )
            first = stop

    def _ridge(self, vectors: Tensor) -> Tensor:
        """What all rows' equations share, (D, D): every pair counts 1, and the regularization."""
        identity = torch.eye(self.config.factors, dtype=vectors.dtype, device=vectors.device)
        return vectors.T @ vectors + self.config.regularization * identity

    def _solve(self, chunks: Iterable[_Chunk], padded: Tensor, ridge: Tensor, n_rows: int) -> tuple[Tensor, float]:
        """The minimising vectors of one side given those of the other, in the precision of `ridge`.

        Args:
            chunks: the rows to solve.
            padded: (n_columns + 1, D), the vectors of the other side and one of zeros.
            ridge: see `_ridge`.
            n_rows: rows of the result.

        Returns:
            The vectors ``z`` (n_rows, D), zero for rows without entries; and ``sum_r z_r . b_r`` for their equations
            ``A_r z_r = b_r``: what they take off the objective.
        """
        alpha = self.config.alpha
        solved, explained = ridge.new_zeros(n_rows, self.config.factors), 0.0
        for chunk in chunks:
            others = torch.nn.functional.embedding(chunk.columns, padded).to(ridge.dtype)
            if chunk.weights is None:
                systems = torch.baddbmm(ridge, others.mT, others, alpha=alpha)
                targets = (1 + alpha) * others.sum(dim=1)
            else:
                weighted = others * chunk.weights[:, :, None]
                systems = torch.baddbmm(ridge, weighted.mT, others)
                targets = (others + weighted).sum(dim=1)
            factor, failed = torch.linalg.cholesky_ex(systems)
            if failed.any():
                raise ModelError(
                    f"als cannot solve for its vectors with regularization {self.config.regularization:g} and alpha "
                    f"{alpha:g}; raise regularization or lower alpha."
                )
            halfway = torch.linalg.solve_triangular(factor, targets[:, :, None], upper=False)
            solved[chunk.rows] = torch.linalg.solve_triangular(factor.mT, halfway, upper=True)[:, :, 0]
            explained += halfway.square().sum(dtype=torch.float64).item()
        return solved, explained
