"""Histories cut in two at random: from one part, the other is to be predicted.

A person is asked for with a history of any length, so training shows histories of any length: of each, a share drawn
between none and all. It also costs one vector a person, whatever the number of items to predict.
Shapes: B people, N events of all B histories, T of them to be predicted, K draws for each of these.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn.functional import softplus

from recloop.nn.histories import Bags


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """What is shown of B people, and what is to be predicted.

    Attributes:
        shown: the parts that are shown, as sets of items; some may be empty.
        rows: int64 (T,), whose item is to be predicted, from 0 to B - 1.
        items: int64 (T,), which.
        values: float32 (T,), the entry of the matrix.
    """

    shown: Bags
    rows: Tensor
    items: Tensor
    values: Tensor


class HoldoutStore:
    """Histories of many people; batches of them are cut in two on the device.

    Args:
        matrix: people x items; its entries say who took what.
    """

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self._offsets = matrix.indptr.astype(np.int64)
        self._items = matrix.indices.astype(np.int64)
        self._values = matrix.data.astype(np.float32)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def batch(self, rows: NDArray[np.integer], device: torch.device, generator: torch.Generator) -> Holdout:
        """The people `rows` (B,); each item of a person is shown with a probability that is drawn for the person."""
        lengths = np.diff(self._offsets)[rows]
        before = np.cumsum(lengths) - lengths
        picked = np.arange(int(lengths.sum())) + np.repeat(self._offsets[rows] - before, lengths)
        of_row = torch.from_numpy(np.repeat(np.arange(len(rows)), lengths)).to(device)
        items = torch.from_numpy(self._items[picked]).to(device)
        values = torch.from_numpy(self._values[picked]).to(device)
        shares = torch.rand(len(rows), generator=generator, device=device)
        shown = torch.rand(len(items), generator=generator, device=device) < shares[of_row]
        asked = ~shown
        return Holdout(
            shown=bags(of_row[shown], items[shown], len(rows)),
            rows=of_row[asked],
            items=items[asked],
            values=values[asked],
        )


def bags(rows: Tensor, items: Tensor, n_rows: int) -> Bags:
    """Sets of items from pairs that are sorted by row: `rows` int64 (N,) from 0 to `n_rows` - 1, `items` int64 (N,)."""
    offsets = torch.searchsorted(rows.contiguous(), torch.arange(n_rows + 1, device=rows.device))
    return Bags(offsets=offsets, rows=rows, items=items)


def log_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean of ``-log sigmoid(x)`` over `positive` (T,) and ``-log(1 - sigmoid(x))`` over `negative` (T, K); 0 if none.

    With the logit ``x`` of a pair as the odds of its being taken, this is the binary cross-entropy.
    """
    total = softplus(-positive.float()).sum() + softplus(negative.float()).sum()
    return total / max(1, positive.numel() + negative.numel())


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The items that a batch is compared with: the sampled ones, and those to be predicted.

    Attributes:
        items: int64 (C,), distinct, in ascending order.
        times: int64 (C,), how often each was sampled; 0 for one that is only to be predicted.
    """

    items: Tensor
    times: Tensor

    @classmethod
    def of(cls, batch: Holdout, sampled: Tensor) -> "Candidates":
        """The candidates of a batch for `sampled` items, int64 (S,), repeats allowed."""
        items = torch.cat([sampled, batch.items]).unique()
        return cls(items=items, times=torch.bincount(torch.searchsorted(items, sampled), minlength=len(items)))

    def loss(self, logits: Tensor, batch: Holdout, log_expected: Tensor) -> Tensor:
        """Mean cross-entropy of the T items to be predicted, under a softmax over the sampled items; 0 if T is 0.

        Each sampled item counts its number of draws over the expected number (logQ correction), which makes the
        denominator right on average; the item to be predicted is no draw and counts once. What a person has taken is no
        counterexample: it is left out of the person's denominator.

        Args:
            logits: (B, C), of the people of `batch` and the candidates.
            batch: the people.
            log_expected: (C,), logarithm of the expected number of draws of each candidate.
        """
        left_out = (self.times == 0).expand(logits.shape).clone()
        shown = torch.searchsorted(self.items, batch.shown.items).clamp(max=max(0, len(self.items) - 1))
        same = self.items[shown] == batch.shown.items if len(self.items) else shown.bool()
        asked = torch.searchsorted(self.items, batch.items)
        left_out[batch.shown.rows[same], shown[same]] = True
        left_out[batch.rows, asked] = True
        counted = logits.float() + self.times.clamp(min=1).log() - log_expected
        rest = counted.masked_fill(left_out, -torch.inf).logsumexp(dim=1)
        positive = logits.float()[batch.rows, asked]
        return (torch.logaddexp(positive, rest[batch.rows]) - positive).sum() / max(1, len(asked))
