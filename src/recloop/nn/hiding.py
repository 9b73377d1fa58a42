"""Learning to complete histories: in each pass some events are hidden and predicted from those left visible.

Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008, as Liang et al.,
"Variational autoencoders for collaborative filtering", WWW 2018, apply it to histories.
Shapes: U people, I items, B people of a batch, C candidates, N hidden events of a batch.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from recloop.nn.histories import Bags, BagStore
from recloop.nn.negatives import Unseen, uniform

_NEVER = -1e9


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What B people are asked.

    Attributes:
        visible: their events that may be looked at.
        rows: int64 (N,), whose hidden event it is, from 0 to B - 1.
        targets: int64 (N,), its item.
        candidates: int64 (C,), items to compare with.
        taken: bool (B, C), which of them the person has taken, visibly or not: those are no counter-examples.
        correction: what is added to the scores of drawn candidates so that they stand for all items; 0 for all.
    """

    visible: Bags
    rows: Tensor
    targets: Tensor
    candidates: Tensor
    taken: Tensor
    correction: float


class HiddenEvents:
    """Histories of U people of which every pass hides another part.

    Args:
        matrix: people x items; its entries say who took what.
        device: where batches live.
    """

    def __init__(self, matrix: sparse.csr_matrix, device: torch.device) -> None:
        self._matrix, self._device = matrix, device
        self._n_items = len(matrix.getnnz(axis=0))
        rows = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
        items = torch.from_numpy(matrix.indices.astype(np.int64))
        self._pairs = Unseen(torch.from_numpy(rows), items, self._n_items, device)
        self._all = BagStore(matrix)

    def draw(self, share: float, generator: torch.Generator) -> sparse.csr_matrix:
        """Hide each event with probability `share` until the next draw; returns the visible part of the matrix."""
        drawn = torch.rand(self._matrix.nnz, generator=generator, device=generator.device)
        hidden = (drawn < share).cpu().numpy()
        self._hidden = BagStore(_only(self._matrix, hidden))
        visible = _only(self._matrix, ~hidden)
        self._visible = BagStore(visible)
        return visible

    def batch(self, rows: NDArray[np.int64], most: int, generator: torch.Generator) -> Questions:
        """Questions to the people `rows` (B,): against all items where there are at most `most`, else so many drawn."""
        hidden = self._hidden.batch(rows, self._device)
        if self._n_items <= most:
            everything = self._all.batch(rows, self._device)
            taken = torch.zeros(len(rows), self._n_items, dtype=torch.bool, device=self._device)
            taken[everything.rows, everything.items] = True
            candidates, correction = torch.arange(self._n_items, device=self._device), 0.0
        else:
            candidates, correction = uniform(self._n_items, most, generator), math.log(self._n_items / most)
            taken = self.taken(rows, candidates[None, :])
        return Questions(
            visible=self._visible.batch(rows, self._device),
            rows=hidden.rows,
            targets=hidden.items,
            candidates=candidates,
            taken=taken,
            correction=correction,
        )

    def taken(self, rows: NDArray[np.int64], items: Tensor) -> Tensor:
        """Whether the people `rows` (B,) took `items` (1 or B, C), bool (B, C)."""
        return self._pairs.taken(torch.from_numpy(rows).to(self._device)[:, None], items)

    def unseen(self, rows: NDArray[np.int64], count: int, generator: torch.Generator) -> Tensor:
        """`count` items for each of the people `rows` (B,) that they have not taken, int64 (B, count)."""
        return self._pairs.draw(torch.from_numpy(rows).to(self._device), count, generator)


def completion_loss(scores: Tensor, positives: Tensor, questions: Questions) -> Tensor:
    """Mean over hidden events of the cross-entropy of the target against the candidates that the person has not taken.

    ``log(exp(p_n) + sum_c exp(s_bc + correction)) - p_n``; 0 where nothing is hidden.

    Args:
        scores: of the candidates, (B, C).
        positives: ``p``, of the targets, (N,).
        questions: what was asked.
    """
    rivals = (scores.float() + questions.correction).masked_fill(questions.taken, _NEVER).logsumexp(dim=1)
    positives = positives.float()
    losses = torch.logaddexp(rivals.index_select(0, questions.rows), positives) - positives
    return losses.sum() / max(1, len(losses))


def _only(matrix: sparse.csr_matrix, kept: NDArray[np.bool_]) -> sparse.csr_matrix:
    before = np.concatenate([[0], np.cumsum(kept)])
    parts = (matrix.data[kept], matrix.indices[kept], before[matrix.indptr])
    return sparse.csr_matrix(parts, shape=matrix.shape)
