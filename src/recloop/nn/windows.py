"""Histories as arrays for sequence models: a start token before each, windows of training, the newest events.

A column is one number an event, in compressed rows: history b is the slice ``offsets[b]:offsets[b + 1]`` of it, oldest
event first.
Shapes: B histories, N events of all of them, W windows, L positions, M inputs of a batch.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PADDING = -1

T = TypeVar("T", bound=np.generic)


def with_start(
    offsets: NDArray[np.int64], items: NDArray[np.int64], start: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same histories, each preceded by the item index `start`: offsets (B + 1,) and items (N + B,)."""
    starts = np.full(len(offsets) - 1, start, dtype=np.int64)
    return offsets + np.arange(len(offsets)), prepend(offsets, items, starts)


def prepend(offsets: NDArray[np.int64], column: NDArray[T], firsts: NDArray[T]) -> NDArray[T]:
    """A column (N,) with ``firsts[b]`` before history b, (N + B,); its offsets are ``offsets + arange(B + 1)``."""
    return np.insert(column, offsets[:-1], firsts)


def runs(stops: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices ``stop - size`` to ``stop - 1`` of each pair, one run after the other, int64 (sum of sizes,)."""
    ends = np.cumsum(sizes)
    return np.arange(sizes.sum()) + np.repeat(stops - ends, sizes)


def newest(
    offsets: NDArray[np.int64], column: NDArray[np.int64], length: int, padding: int = PADDING
) -> NDArray[np.int64]:
    """The last `length` numbers of each history, int64 (B, L), filled with `padding` on the left.

    L is the length of the longest history, but at most `length` and at least 1.
    """
    sizes = np.minimum(np.diff(offsets), length)
    return _padded_left(column[runs(offsets[1:], sizes)], sizes, padding)


class Windows:
    """Histories cut into W windows of at most L inputs, from the newest back; every event but the first is predicted.

    An event is the input at one position of one window, and the event after it is what that position predicts. So a
    history of n events, start token included, gives ``ceil((n - 1) / L)`` windows. All but its oldest window are full.

    Attributes:
        owners: int64 (W,), whose history each window is of, ascending.

    Args:
        offsets: int64 (B + 1,), of histories that begin with the start token (see `with_start`).
        items: int64 (N,).
        length: L.
    """

    def __init__(self, offsets: NDArray[np.int64], items: NDArray[np.int64], length: int) -> None:
        predicted = np.maximum(np.diff(offsets) - 1, 0)
        counts = -(-predicted // length)
        before = np.cumsum(counts) - counts
        back = np.arange(counts.sum()) - np.repeat(before, counts)
        self.owners = np.repeat(np.arange(len(counts)), counts)
        self._items = items
        self._stops = np.repeat(offsets[1:], counts) - 1 - back * length
        self._sizes = np.minimum(self._stops - np.repeat(offsets[:-1], counts), length)

    def __len__(self) -> int:
        return len(self._stops)

    def by_length(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The windows `rows` (B,), shortest first; equally long ones in the order given."""
        return rows[np.argsort(self._sizes[rows], kind="stable")]

    def events(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The inputs of the windows `rows` (B,), one window after the other, without padding.

        Returns:
            Where each input lies in the columns, int64 (M,), oldest first in its window; what it predicts lies at the
            next index. And the inputs of each window, int64 (B,), from 1 to L.
        """
        return runs(self._stops[rows], self._sizes[rows]), self._sizes[rows]

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The windows `rows` (B,), padded to the longest.

        Returns:
            Inputs, int64 (B, L'), filled with `PADDING` on the left; and what follows each of them, int64 (M,), in the
            order of ``inputs[inputs != PADDING]``.
        """
        source, sizes = self.events(rows)
        inputs = _padded_left(self._items[source], sizes, PADDING)
        return torch.from_numpy(inputs), torch.from_numpy(self._items[source + 1])


def _padded_left(numbers: NDArray[np.int64], sizes: NDArray[np.int64], padding: int) -> NDArray[np.int64]:
    """Runs of `sizes` (B,), int64 (sum of sizes,), as rows (B, L) that end together; L is at least 1."""
    length = int(sizes.max(initial=1))
    batch = np.full((len(sizes), length), padding, dtype=np.int64)
    batch[np.arange(length) >= length - sizes[:, None]] = numbers
    return batch
