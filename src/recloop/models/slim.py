"""SLIM: a sparse linear model, each item explained by few others with weights that are never negative.

Ning and Karypis, "SLIM: sparse linear methods for top-N recommender systems", ICDM 2011; coordinate descent with
products computed in advance as in Friedman, Hastie and Tibshirani, "Regularization paths for generalized linear models
via coordinate descent", Journal of Statistical Software 2010.
Shapes: B contexts, I items, U users, T target items solved together, b coordinates of a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop import devices
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody
from recloop.nn.gram import gram_blocks
from recloop.nn.neighbours import nearest, pack, terms, unpack
from recloop.search import Real, Space

_TARGETS, _COORDINATES = 2048, 64


class SLIMConfig(ModelConfig):
    """Parameters of `SLIM`.

    Attributes:
        regularization: half of it times the sum of squared weights is the ridge; grows with the number of users.
        lasso: times the sum of weights: the more, the fewer are kept; a pair that fewer users share is never kept.
        iterations: most sweeps over all coordinates.
        tolerance: an item whose weights change by less in a sweep is solved.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "regularization": Real(1.0, 2000.0, log=True),
        "lasso": Real(0.01, 50.0, log=True),
    }

    regularization: float = Field(default=100.0, gt=0)
    lasso: float = Field(default=1.0, ge=0)
    iterations: int = Field(default=50, ge=1)
    tolerance: float = Field(default=3e-3, gt=0)


class SLIM(Model[SLIMConfig]):
    """Scores = ``x @ W``, where ``x`` (I,) holds 1 for the items of the history and ``W`` (I, I) is sparse.

    ``W`` minimises ``|X - X W|^2 / 2 + regularization |W|^2 / 2 + lasso sum(W)`` for the training matrix ``X`` (U, I)
    of ones and zeros, with weights of at least 0 and a diagonal of 0. Coordinate descent on ``G = X'X``: weight i of
    all targets at once becomes ``max(0, G_i. - sum_k G_ik W_k. - lasso) / (G_ii + regularization)``, k without i; one
    after the other, since each step needs the last. What the other blocks of coordinates contribute is one matrix
    product for 64 of them. An empty history gets each item's number of users. The objective is the paper's.
    """

    Config = SLIMConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        self._refuse_if_too_large()
        gram = torch.empty(self.n_items, self.n_items)
        for start, block in gram_blocks(data.histories.matrix(self.n_items)):
            gram[start : start + len(block)] = torch.from_numpy(block)
        popularity = gram.diagonal().clone()
        weights = nearest(context.progress(self._blocks(gram.to(self.device)), self.name()), self.n_items, self.n_items)
        self.load_tensors({**pack(weights.T.tocsr()), "popularity": popularity})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        scores = sparse.csr_matrix(contexts.matrix(self.n_items) @ self._weights).toarray()
        return answer_nobody(torch.from_numpy(scores).to(self.device), contexts, self._popularity)

    @override
    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor:
        return terms(context.matrix(self.n_items), self._weights, items).to(self.device)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {**pack(self._weights), "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        offsets = self._tensor(tensors, "offsets", (self.n_items + 1,))
        neighbors = self._tensor(tensors, "neighbors", (None,))
        weights = self._tensor(tensors, "weights", (len(neighbors),))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))
        self._weights = unpack(offsets, neighbors, weights, self.n_items)

    def _blocks(self, gram: Tensor) -> Iterator[sparse.csr_matrix]:
        """Columns of ``W`` as rows, (T, I), solved T at a time."""
        for start in range(0, self.n_items, _TARGETS):
            targets = torch.arange(start, min(start + _TARGETS, self.n_items), device=gram.device)
            yield sparse.csr_matrix(self._solve(gram, targets).T.cpu().numpy())

    def _solve(self, gram: Tensor, targets: Tensor) -> Tensor:
        """The columns `targets` (T,) of ``W``, (I, T); those that are solved leave the sweeps."""
        solved = gram.new_zeros(len(gram), len(targets))
        going = torch.arange(len(targets), device=gram.device)
        for _ in range(self.config.iterations):
            weights = solved[:, going]
            changes = self._sweep(gram, weights, targets[going])
            solved[:, going] = weights
            going = going[changes >= self.config.tolerance]
            if not len(going):
                break
        return solved

    def _sweep(self, gram: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
        """One update of each row of `weights` (I, T), in place; returns the largest change of each column, (T,)."""
        largest = weights.new_zeros(len(targets))
        steps = 1 / (gram.diagonal() + self.config.regularization)
        for first in range(0, len(gram), _COORDINATES):
            rows = slice(first, first + _COORDINATES)
            left = gram[rows].index_select(1, targets).addmm_(gram[rows], weights, alpha=-1).sub_(self.config.lasso)
            inside = gram[rows, rows]
            for place, row in enumerate(range(first, first + len(inside))):
                old = weights[row]
                new = (left[place] + inside[place, place] * old).mul_(steps[row]).clamp_(min=0)
                new.masked_fill_(targets == row, 0)
                change = new - old
                left.addr_(inside[place], change, alpha=-1)
                weights[row] = new
                torch.maximum(largest, change.abs_(), out=largest)
        return largest

    def _refuse_if_too_large(self) -> None:
        needed = 4 * self.n_items * (self.n_items + 6 * min(_TARGETS, self.n_items))
        free = min(devices.free_memory(torch.device("cpu")), devices.free_memory(self.device))
        if needed > free:
            raise ModelError(
                f"slim needs {needed / 1e9:,.1f} GB of memory for {self.n_items:,} items, but {free / 1e9:,.1f} GB are "
                "free; leave the model out or drop rare items."
            )
