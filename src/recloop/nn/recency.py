"""Histories as sums in which newer events count more, by their order or by their time.

Shapes: B contexts, I items, N events of all contexts.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recloop.data.sequences import Contexts

_DAY = 86_400_000_000


def recent_matrix(contexts: Contexts, n_items: int, half_life: float | None) -> sparse.csr_matrix:
    """Contexts x items, float32 (B, I): an event with n newer ones in its history weighs ``0.5 ** (n / half_life)``.

    Args:
        contexts: B histories, oldest event first.
        n_items: I.
        half_life: events back at which an event counts half; `None` counts all alike. Weights of repeats add up.
    """
    if half_life is None:
        return _summed(contexts, n_items, np.zeros(len(contexts.items)))
    newer = contexts.offsets[1:][contexts.rows] - 1 - np.arange(len(contexts.items))
    return _summed(contexts, n_items, newer / half_life)


def faded_matrix(contexts: Contexts, n_items: int, half_life_days: float, now: int | None = None) -> sparse.csr_matrix:
    """Contexts x items, float32 (B, I): an event weighs ``0.5 ** (age / half_life_days)``; the newest repeat counts.

    Args:
        contexts: B histories, oldest event first.
        n_items: I.
        half_life_days: age at which an event counts half.
        now: the moment that ages are counted from, microseconds since 1970 UTC; by default that of the newest event of
            each history.
    """
    lasts = contexts.timestamps[np.maximum(contexts.offsets[1:] - 1, 0)] if len(contexts.items) else contexts.timestamps
    ends = lasts[contexts.rows] if now is None else now
    halvings = (ends - contexts.timestamps) / (_DAY * half_life_days)
    newest = _newest_of_repeats(contexts, n_items)
    return _summed(contexts, n_items, np.where(newest, halvings, np.inf))


def _newest_of_repeats(contexts: Contexts, n_items: int) -> NDArray[np.bool_]:
    """Whether no later event of the same history has the same item, (N,)."""
    pairs = contexts.rows * n_items + contexts.items
    _, last = np.unique(pairs[::-1], return_index=True)
    newest = np.zeros(len(pairs), dtype=np.bool_)
    newest[len(pairs) - 1 - last] = True
    return newest


def _summed(contexts: Contexts, n_items: int, halvings: NDArray[np.float64]) -> sparse.csr_matrix:
    data = np.exp2(-halvings).astype(np.float32)
    matrix = sparse.csr_matrix((data, contexts.items, contexts.offsets), shape=(len(contexts), n_items), copy=True)
    matrix.sum_duplicates()
    return matrix
