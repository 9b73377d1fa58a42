"""Matrix factorisation of implicit feedback by alternating least squares.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008; the regularization that
grows with frequency is that of Rendle, Krichene, Zhang and Koren, "Revisiting the performance of iALS on item
recommendation benchmarks", RecSys 2022; conjugate gradients as in Takács, Pilászy and Tikk, "Applications of the
conjugate gradient method for implicit feedback collaborative filtering", RecSys 2011.
Shapes: B contexts, I items, U users, D factors, N interactions; R rows of one side, L the longest of a chunk.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
from recloop.nn.ridge import Chunk, UnsolvableError, chunks, conjugate_gradients, solve, solve_near_diagonal
from recloop.nn.sparse import Entries
from recloop.search import Real, Space, Whole

_TOLERANCE = 1e-7
_MOST_STEPS = 100


class ALSConfig(ModelConfig):
    """Parameters of `ALS`.

    Attributes:
        factors: length of the vectors, D.
        regularization: ridge on every vector.
        regularization_scale: exponent nu with which a vector's ridge grows with its frequency; 0 is the same for all.
        alpha: how much more an interaction counts than its absence.
        unobserved_weight: how much an absent interaction counts.
        weighted: whether an interaction counts in proportion to its value, instead of all alike.
        iterations: passes, each solving all users and then all items.
        solver: how passes solve: ``cg`` makes `cg_steps` steps of conjugate gradients from the last pass's vectors, in
            the basis where all pairs' part is diagonal and scaled by that; ``cholesky`` solves exactly, at a cost that
            grows with D^2 an interaction and D^3 a row.
        cg_steps: of each solution by ``cg``.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "factors": Whole(16, 256, log=True),
        "regularization": Real(0.1, 300.0, log=True),
        "alpha": Real(0.1, 30.0, log=True),
    }

    factors: int = Field(default=64, ge=1)
    regularization: float = Field(default=10.0, gt=0)
    regularization_scale: float = Field(default=0.0, ge=0, le=2)
    alpha: float = Field(default=1.0, gt=0)
    unobserved_weight: float = Field(default=1.0, gt=0)
    weighted: bool = False
    iterations: int = Field(default=15, ge=1)
    solver: Literal["cg", "cholesky"] = "cg"
    cg_steps: int = Field(default=1, ge=1)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """The interactions seen from the users or from the items, in the form that the solver needs.

    Attributes:
        entries: for ``cg``.
        chunks: for ``cholesky``.
        ridges: float32 (R,), of each row.
    """

    entries: Entries | None
    chunks: list[Chunk]
    ridges: Tensor


class ALS(IterativeModel[ALSConfig]):
    """Scores = ``x . y_i`` for a person's vector ``x`` (D,) and the items' vectors ``y_i`` (D,).

    Minimises ``sum_ui c_ui (p_ui - x_u . y_i)^2 + sum_u l_u |x_u|^2 + sum_i l_i |y_i|^2`` over all pairs, with ``p_ui
    = 1`` and ``c_ui = a + alpha r_ui`` where u interacted with i, else 0 and ``a``, the `unobserved_weight`; ``r_ui``
    is 1, or the summed values if `weighted`. ``l_u = regularization (alpha sum_i r_ui + a I)^nu`` with nu the
    `regularization_scale`, and ``l_i`` likewise over the U users. Rendle et al. ask for 1 at interactions and, with
    weight a, for 0 at all pairs alike; their (regularization, a) is here (regularization * (1 + a), a) with alpha = 1.

    Only item vectors are kept: the vector of any history is the minimiser for it, solved when scores are asked for, so
    people of the training data are no special case. Where all pairs' part of the equations is diagonal, in the basis of
    its eigenvectors, the history adds a matrix of low rank, and conjugate gradients in float32 take some ten steps; a
    history for which they fail is solved directly in float64. An empty history gets the mean vector of the training
    users. The loss of a pass is the objective over the number of interactions.
    """

    Config = ALSConfig
    per_item = frozenset({"items"})

    @property
    @override
    def epochs(self) -> int:
        return self.config.iterations

    @override
    def begin(self, data: TrainingData, context: FitContext) -> None:
        self._histories = data.histories
        matrix = self._interactions(data.histories)
        self._n_users, self._n_interactions = len(data.histories), max(1, matrix.nnz)
        self._by_user = self._side(matrix, self.n_items)
        self._by_item = self._side(sparse.csr_matrix(matrix.T), self._n_users)
        strength = self.config.alpha * float(matrix.data.sum(dtype=np.float64))
        self._confidence = self.config.unobserved_weight * matrix.nnz + strength
        generator = torch.Generator().manual_seed(context.seed)
        items = torch.randn(self.n_items, self.config.factors, generator=generator) / self.config.factors**0.5
        self.load_tensors({"items": items, "nobody": torch.zeros(self.config.factors)})
        self._users = torch.zeros(self._n_users, self.config.factors, device=self.device)

    @override
    def _take_over(self, tensors: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """New items begin with zeros, which an item without interactions has; users with the minimisers for these."""
        items = self._carried(tensors, "items", torch.zeros_like(self.item_vectors()), rows)
        self.load_tensors({"items": items, "nobody": self._carried(tensors, "nobody", self._nobody)})
        self._users = self.user_vectors(self._histories)

    @override
    def advance(self, context: FitContext) -> float:
        self._users, _ = self._improve(self._by_user, self._users, self.item_vectors())
        items, explained = self._improve(self._by_item, self.item_vectors(), self._users)
        self.load_tensors({"items": items, "nobody": self._users.sum(dim=0) / max(1, self._n_users)})
        penalty = (self._by_user.ridges * self._users.square().sum(dim=1)).sum(dtype=torch.float64).item()
        return (self._confidence - explained + penalty) / self._n_interactions

    @override
    def training_state(self) -> dict[str, Any]:
        return self.tensors() | {"users": self._users}

    @override
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.load_tensors(state)
        self._users = self._tensor(state, "users", (self._n_users, self.config.factors))

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"items": self.item_vectors(), "nobody": self._nobody}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._items = _padded(self._tensor(tensors, "items", (self.n_items, self.config.factors)))
        self._nobody = self._tensor(tensors, "nobody", (self.config.factors,))
        self._fold_in_gram = self._gram(self._items.double())
        self._shared, self._basis = (part.float() for part in _eigen(self._fold_in_gram))
        self._turned = self.item_vectors() @ self._basis

    @override
    def user_vectors(self, contexts: Contexts) -> Tensor:
        matrix = self._interactions(contexts)
        entries = Entries(matrix, self.device)
        weights = self.config.alpha * entries.values
        turned, solved = solve_near_diagonal(
            self._shared + self._ridges(entries.row_sums(entries.values), self.n_items)[:, None],
            entries.sums(self._turned, weights + self.config.unobserved_weight),
            lambda z: entries.sums(self._turned, weights * entries.dots(z, self._turned)),
            tolerance=_TOLERANCE,
            steps=_MOST_STEPS,
        )
        vectors = turned @ self._basis.T
        if not solved.all():
            failed = torch.nonzero(~solved)[:, 0]
            rows = chunks(matrix[failed.cpu().numpy()], self.device)
            vectors[failed] = self._solve(rows, self._items, self._fold_in_gram, len(failed))[0].float()
        vectors[torch.from_numpy(contexts.lengths == 0).to(self.device)] = self._nobody
        return vectors

    @override
    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor:
        """``(a + alpha r_j) y_j . inv(A) y_i`` for the matrix ``A`` of the equations of ``x``; Hu et al., section 5."""
        matrix, wanted = self._interactions(context), torch.as_tensor(items, device=self.device)
        strengths = torch.from_numpy(matrix.data).to(self._fold_in_gram)
        weights = self.config.alpha * strengths
        vectors = self.item_vectors()
        own = vectors[torch.from_numpy(matrix.indices.astype(np.int64)).to(self.device)].double()
        equations = self._fold_in_gram + own.T @ (weights[:, None] * own)
        equations.diagonal().add_(self._ridges(strengths.sum(), self.n_items))
        turned = torch.linalg.solve(equations, vectors[wanted].double().T)
        return ((weights + self.config.unobserved_weight)[:, None] * (own @ turned)).float()

    @override
    def item_vectors(self) -> Tensor:
        return self._items[:-1]

    def _interactions(self, contexts: Contexts) -> sparse.csr_matrix:
        """``r``, float32 (U, I); negative values count as 0."""
        matrix = contexts.matrix(self.n_items, weighted=self.config.weighted)
        matrix.data = np.maximum(matrix.data, 0)
        return matrix

    def _side(self, matrix: sparse.csr_matrix, n_columns: int) -> _Side:
        exact = self.config.solver == "cholesky"
        frequencies = torch.from_numpy(np.asarray(matrix.sum(axis=1), dtype=np.float32).ravel()).to(self.device)
        return _Side(
            entries=None if exact else Entries(matrix, self.device),
            chunks=list(chunks(matrix, self.device)) if exact else [],
            ridges=self._ridges(frequencies, n_columns),
        )

    def _ridges(self, frequencies: Tensor, n_columns: int) -> Tensor:
        """``l`` of rows whose ``r`` add up to `frequencies` (R,)."""
        config = self.config
        strengths = config.alpha * frequencies + config.unobserved_weight * n_columns
        return config.regularization * strengths**config.regularization_scale

    def _gram(self, vectors: Tensor) -> Tensor:
        """What all rows' equations share, (D, D): every pair counts as if unobserved."""
        return self.config.unobserved_weight * (vectors.T @ vectors)

    def _improve(self, side: _Side, vectors: Tensor, others: Tensor) -> tuple[Tensor, float]:
        """Better vectors of one side, given its `vectors` (R, D) and those of the `others`; what `_solve` returns."""
        gram, entries = self._gram(others), side.entries
        if entries is None:
            return self._solve(side.chunks, _padded(others), gram, len(vectors))
        shared, basis = _eigen(gram)
        others, start = others @ basis, vectors * (entries.lengths > 0)[:, None] @ basis
        diagonal, weights = shared + side.ridges[:, None], self.config.alpha * entries.values
        scale, wanted = diagonal.rsqrt(), weights + self.config.unobserved_weight

        def multiply(z: Tensor) -> Tensor:
            turned = scale * z
            return z + scale * entries.sums(others, weights * entries.dots(turned, others))

        def curvature(z: Tensor) -> Tensor:
            observed = entries.row_sums(weights * entries.dots(scale * z, others).square())
            return z.square().sum(dim=1, keepdim=True) + observed[:, None]

        reached = entries.dots(start, others)
        residual = entries.sums(others, wanted - weights * reached) - diagonal * start
        explained = (wanted * reached).sum(dtype=torch.float64) + (start * residual).sum(dtype=torch.float64)
        solved, gained = conjugate_gradients(start / scale, residual * scale, multiply, curvature, self.config.cg_steps)
        return (scale * solved) @ basis.T, (explained + gained.sum(dtype=torch.float64)).item()

    def _solve(self, rows: Iterable[Chunk], padded: Tensor, gram: Tensor, n_rows: int) -> tuple[Tensor, float]:
        """The minimising vectors of one side given those of the other, in the precision of `gram`.

        Args:
            rows: the rows to solve.
            padded: (n_columns + 1, D), the vectors of the other side and one of zeros.
            gram: see `_gram`.
            n_rows: rows of the result.

        Returns:
            The vectors ``z`` (n_rows, D), zero for rows without entries; and what they take off the objective,
            ``sum_r (2 z_r . b_r - z_r . A_r z_r)`` for the equations ``A_r z_r = b_r``.
        """
        alpha, unobserved = self.config.alpha, self.config.unobserved_weight
        solved, explained = gram.new_zeros(n_rows, self.config.factors), 0.0
        wide = None
        for chunk in rows:
            # converted before they are chosen or after, whichever are fewer
            if chunk.columns.numel() < len(padded):
                others = torch.nn.functional.embedding(chunk.columns, padded).to(gram.dtype)
            else:
                wide = padded.to(gram.dtype) if wide is None else wide
                others = torch.nn.functional.embedding(chunk.columns, wide)
            if self.config.weighted:
                weighted = others * chunk.values[:, :, None]
                systems = torch.baddbmm(gram, weighted.mT, others, alpha=alpha)
                targets = unobserved * _column_sums(others) + alpha * _column_sums(weighted)
            else:
                systems = torch.baddbmm(gram, others.mT, others, alpha=alpha)
                targets = (unobserved + alpha) * _column_sums(others)
            ridges = self._ridges(chunk.values.to(gram.dtype).sum(dim=1), len(padded) - 1)
            systems.diagonal(dim1=1, dim2=2).add_(ridges[:, None])
            try:
                solved[chunk.rows], gains = solve(systems, targets)
            except UnsolvableError:
                raise ModelError(
                    f"als cannot solve for its vectors with regularization {self.config.regularization:g} and alpha "
                    f"{alpha:g}; raise regularization or lower alpha."
                ) from None
            explained += gains.sum(dtype=torch.float64).item()
        return solved, explained


def _eigen(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (D,), at least 0, and eigenvectors (D, D), in columns; of numbers that are not finite none."""
    if not gram.isfinite().all():
        return torch.full_like(gram[0], torch.nan), torch.eye(len(gram)).to(gram)
    values, vectors = torch.linalg.eigh(gram)
    return values.clamp(min=0), vectors


def _column_sums(matrices: Tensor) -> Tensor:
    """Sums over the rows of matrices (R, L, D), (R, D): as products with ones, which are quicker."""
    return (matrices.new_ones(len(matrices), 1, matrices.shape[1]) @ matrices)[:, 0]


def _padded(vectors: Tensor) -> Tensor:
    """`vectors` (R, D) and one of zeros."""
    return torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])
