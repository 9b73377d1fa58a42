"""Sequences with hardly any padding: what works on single events sees these alone, and only attention sees rows.

Shapes: B sequences, M events of all of them, L positions of the longest, D dimensions.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

_PARTS = 4


class Packing:
    """Where the M events of B sequences lie, one sequence after the other, oldest event first.

    Sequences that are given in order of their length are put into rows in parts of similar length.

    Attributes:
        length: L.
        ages: int64 (M,), how many events of its sequence came after an event.
        newest: int64 (B,), where the newest event of each sequence lies.

    Args:
        sizes: int64 (B,), events of each sequence, at least 1.
        device: where its tensors are wanted.
    """

    def __init__(self, sizes: NDArray[np.int64], device: torch.device) -> None:
        length = int(sizes.max(initial=1))
        ends = np.cumsum(sizes)
        back = np.repeat(ends, sizes) - 1 - np.arange(sizes.sum())
        column = np.repeat(sizes, sizes) - 1 - back
        self.length = length
        self._own_sizes = sizes
        self._device = device
        self._even = bool((sizes == length).all())
        self.ages, self.newest, self._index = (
            torch.from_numpy(part).to(device)
            for part in (back, ends - 1, np.repeat(np.arange(len(sizes)), sizes) * length + column)
        )

    @property
    def events_each(self) -> list[int]:
        """Events of each of `parts`; they add up to M."""
        return [len(part.ages) for part in self.parts]

    def __len__(self) -> int:
        return len(self._own_sizes)

    @cached_property
    def parts(self) -> "list[Packing]":
        """The sequences in parts of similar length, in the order given; this alone if they are not sorted by length."""
        sizes = self._own_sizes
        quarters = -(-sizes * _PARTS // self.length)
        cuts = np.flatnonzero(np.diff(quarters)) + 1
        if not len(cuts) or (np.diff(sizes) < 0).any():
            return [self]
        return [Packing(part, self._device) for part in np.split(sizes, cuts)]

    def picked(self, index: Tensor) -> "list[Packing]":
        """For each of `parts`, some of its events alone.

        Args:
            index: which of the M events, ascending; at least one of each sequence.
        """
        whose = np.repeat(np.arange(len(self)), self._own_sizes)
        counts = np.bincount(whose[index.cpu().numpy()], minlength=len(self))
        cuts = np.cumsum([len(part) for part in self.parts])[:-1]
        return [Packing(part, self._device) for part in np.split(counts, cuts)]

    @cached_property
    def sizes(self) -> Tensor:
        """Events of each sequence, int64 (B,)."""
        return torch.from_numpy(self._own_sizes).to(self._device)

    @cached_property
    def present(self) -> Tensor:
        """Which positions of the rows hold an event, bool (B, L)."""
        return torch.arange(self.length, device=self._device) < self.sizes[:, None]

    def rows(self, states: Tensor) -> Tensor:
        """Vectors (M, D) as rows that begin together, (B, L, D), followed by zeros."""
        if not self._even:
            states = _Spread.apply(states, self._index, len(self) * self.length)  # pyright: ignore[reportAssignmentType]
        return states.view(len(self), self.length, states.shape[-1])

    def events(self, rows: Tensor) -> Tensor:
        """The vectors (M, D) of rows (B, L, D): what `rows` made, back again."""
        flat = rows.reshape(len(self) * self.length, rows.shape[-1])
        return flat if self._even else pick(flat, self._index)


def pick(states: Tensor, index: Tensor) -> Tensor:
    """The rows `index` (N,), no two alike, of `states` (M, D); its gradient is put in place, with no sum."""
    return _Pick.apply(states, index)  # pyright: ignore[reportReturnType]


class _Spread(torch.autograd.Function):
    """Rows to places of their own; the gradient is picked from there, with no sum."""

    @staticmethod
    @override
    def forward(ctx: Any, states: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return states.new_zeros(size, states.shape[1]).index_copy_(0, index, states)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return grad_outputs[0].index_select(0, index), None, None


class _Pick(torch.autograd.Function):
    """The inverse of `_Spread`."""

    @staticmethod
    @override
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(rows)
        return rows.index_select(0, index)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        (slope,) = grad_outputs
        return slope.new_zeros(ctx.size, slope.shape[1]).index_copy_(0, index, slope), None
