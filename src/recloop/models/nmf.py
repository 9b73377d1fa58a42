"""Non-negative matrix factorisation: people and items are sums of parts, and no part takes anything away.

Lee and Seung, "Learning the parts of objects by non-negative matrix factorization", Nature 1999; solved by coordinate
descent, a column after the other: Cichocki and Phan, "Fast local algorithms for large scale nonnegative matrix and
tensor factorizations", IEICE Transactions 2009; people are folded in by block principal pivoting: Kim and Park, "Fast
nonnegative matrix factorization: an active-set-like method and comparisons", SIAM Journal on Scientific Computing 2011.
Shapes: B contexts, I items, U users, D factors, N interactions; R rows of one side or of a chunk.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, IterativeModel, ModelConfig, TrainingData
from recloop.nn.nonnegative import solve
from recloop.nn.ratings import mean, mean_ratings
from recloop.nn.ridge import chunks
from recloop.nn.sparse import Entries
from recloop.search import Real, Space, Whole

_SWEEPS = 2
_ROWS = 4096


class NMFConfig(ModelConfig):
    """Parameters of `NMF`.

    Attributes:
        factors: length of the vectors, D.
        regularization: ridge on every vector.
        feedback: ``implicit``: 1 where a person took an item and 0 elsewhere; ``explicit``: ratings, where there are.
        iterations: passes, each bettering all users and then all items.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "factors": Whole(16, 256, log=True),
        "regularization": Real(0.1, 50.0, log=True),
    }

    factors: int = Field(default=64, ge=1)
    regularization: float = Field(default=5.0, gt=0)
    feedback: Literal["implicit", "explicit"] = "implicit"
    iterations: int = Field(default=30, ge=1)


class NMF(IterativeModel[NMFConfig]):
    """Scores = ``w . h_i`` for a person's vector ``w >= 0`` (D,) and the items' vectors ``h_i >= 0`` (D,).

    Minimises ``sum (x_ui - w_u . h_i)^2 + regularization (sum_u |w_u - c|^2 + sum_i |h_i - c|^2)``. For ``implicit``
    feedback the sum is over all pairs, ``x`` is 1 where u took i, else 0, and ``c = 0``. For ``explicit`` it is over
    the ratings alone, scores are predicted ratings, and ``c`` is the vector of equal parts with ``c . c`` the mean
    rating, so that what is not known tends to the mean. A pass makes two sweeps of coordinate descent over all users,
    then all items, each exact in one factor. Lee and Seung multiply by ratios instead, which takes many more passes.

    Only item vectors are kept: the vector of any history is the exact minimum for it, in float64. An empty history gets
    the mean vector of the training users, or ``c`` where feedback is explicit. The loss of a pass is the objective over
    the number of interactions.
    """

    Config = NMFConfig
    per_item = frozenset({"items"})
    takes = frozenset({"values"})

    @property
    @override
    def epochs(self) -> int:
        return self.config.iterations

    @override
    def begin(self, data: TrainingData, context: FitContext) -> None:
        matrix = self._matrix(data.histories)
        self._histories = data.histories
        self._by_user, self._by_item = matrix, sparse.csr_matrix(matrix.T)
        self._squares = float((matrix.data.astype("float64") ** 2).sum())
        pairs = max(1, len(data.histories) * self.n_items)
        level = mean(matrix) if self._explicit else matrix.nnz / pairs
        part = (max(level, 0.0) / self.config.factors) ** 0.5
        generator = torch.Generator().manual_seed(context.seed)
        items = 2 * part * torch.rand(self.n_items, self.config.factors, generator=generator)
        prior = torch.tensor(part if self._explicit else 0.0)
        self.load_tensors({"items": items, "nobody": torch.full((self.config.factors,), part), "prior": prior})
        self._users = torch.full((len(data.histories), self.config.factors), part, device=self.device)

    @override
    def _take_over(self, tensors: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """New items begin with the prior, which an item without interactions has; users with the minima for these."""
        items = self._carried(tensors, "items", self._prior.expand(self._items.shape), rows)
        nobody = self._nobody if self._explicit else self._carried(tensors, "nobody", self._nobody)
        self.load_tensors({"items": items, "nobody": nobody, "prior": self._prior})
        self._users = self.user_vectors(self._histories)

    @override
    def advance(self, context: FitContext) -> float:
        self._users, _ = self._improve(self._by_user, self._users, self._items)
        items, misfit = self._improve(self._by_item, self._items, self._users)
        nobody = self._nobody if self._explicit else self._users.sum(dim=0) / max(1, len(self._users))
        self.load_tensors({"items": items, "nobody": nobody, "prior": self._prior})
        far = (self._users - self._prior).square().sum(dtype=torch.float64).item()
        return (self._squares + misfit + self.config.regularization * far) / max(1, self._by_user.nnz)

    @override
    def training_state(self) -> dict[str, Any]:
        return self.tensors() | {"users": self._users}

    @override
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.load_tensors(state)
        self._users = self._tensor(state, "users", tuple(self._users.shape))

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"items": self._items, "nobody": self._nobody, "prior": self._prior}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._items = self._tensor(tensors, "items", (self.n_items, self.config.factors))
        self._nobody = self._tensor(tensors, "nobody", (self.config.factors,))
        self._prior = self._tensor(tensors, "prior", ())
        self._gram = sum((some.T @ some for some in map(Tensor.double, self._items.split(_ROWS))), torch.zeros(()))

    @override
    def user_vectors(self, contexts: Contexts) -> Tensor:
        vectors = self._nobody.repeat(len(contexts), 1)
        for rows, systems, targets in self._equations(self._matrix(contexts), self._items, self._gram):
            vectors[rows] = solve(systems, targets).float()
        return vectors

    @override
    def item_vectors(self) -> Tensor:
        return self._items

    @property
    def _explicit(self) -> bool:
        return self.config.feedback == "explicit"

    def _matrix(self, contexts: Contexts) -> sparse.csr_matrix:
        """``x``, float32 (U, I)."""
        return mean_ratings(contexts, self.n_items) if self._explicit else contexts.matrix(self.n_items)

    def _improve(self, matrix: sparse.csr_matrix, start: Tensor, others: Tensor) -> tuple[Tensor, float]:
        """Better vectors of one side, (R, D), from `start` and those of the `others`; and what they add to ``sum x^2``.

        Rows without entries get the prior.
        """
        solved = self._prior.expand(start.shape).clone()
        added = 0.0
        for rows, systems, targets in self._equations(matrix, others, others.T @ others):
            vectors = descend(systems, targets, start[rows], _SWEEPS)
            solved[rows] = vectors
            images = (vectors[:, None, :] @ systems)[:, 0]  # A is symmetric
            added += (vectors * (images - 2 * targets)).sum(dtype=torch.float64).item()
            added += self.config.regularization * self._prior.item() ** 2 * vectors.numel()
        return solved, added

    def _equations(
        self, matrix: sparse.csr_matrix, others: Tensor, gram: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Some rows (R,), and ``A`` (R, D, D) or (D, D) and ``b`` (R, D) of their minima ``min_z z.Az - 2 b.z``.

        ``A`` and ``b`` are of the type of `gram` (D, D), the products of the `others` with each other.
        """
        ridge = self.config.regularization * torch.eye(others.shape[1], dtype=gram.dtype, device=self.device)
        if not self._explicit:
            sums = Entries(matrix, self.device).sums(others)
            taken = torch.from_numpy(matrix.getnnz(axis=1)).to(self.device).nonzero()[:, 0]
            for rows in taken.split(_ROWS):
                yield rows, gram + ridge, sums[rows].to(gram.dtype)
            return
        padded = torch.nn.functional.pad(others, (0, 0, 0, 1))
        for chunk in chunks(matrix, self.device):
            vectors = torch.nn.functional.embedding(chunk.columns, padded).to(gram.dtype)
            targets = (vectors * chunk.values[:, :, None]).sum(dim=1) + self.config.regularization * self._prior
            yield chunk.rows, torch.baddbmm(ridge, vectors.mT, vectors), targets


def descend(systems: Tensor, targets: Tensor, start: Tensor, sweeps: int) -> Tensor:
    """``argmin z . A z - 2 b . z`` over ``z >= 0`` for many rows, approached one coordinate after the other.

    Args:
        systems: ``A``, (R, D, D), or (D, D) for all rows; symmetric and positive definite.
        targets: ``b``, (R, D).
        start: (R, D), not negative; unchanged.
        sweeps: how often each coordinate is set to its best value given the others.
    """
    solved = start.clone(memory_format=torch.contiguous_format)
    for _ in range(sweeps):
        for axis in range(solved.shape[1]):
            row = systems[..., axis, :]
            step = (targets[:, axis] - (row * solved).sum(dim=1)) / row[..., axis]
            solved[:, axis] = (solved[:, axis] + step).clamp_(min=0)
    return solved
