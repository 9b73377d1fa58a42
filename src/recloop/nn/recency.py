"""Histories as sums in which newer events count more.

Shapes: B contexts, I items, N events of all contexts.
"""

import numpy as np
from scipy import sparse

from recloop.data.sequences import Contexts


def recent_matrix(contexts: Contexts, n_items: int, half_life: float | None) -> sparse.csr_matrix:
    """Contexts x items, float32 (B, I): an event with n newer ones in its history weighs ``0.5 ** (n / half_life)``.

    Args:
        contexts: B histories, oldest event first.
        n_items: I.
        half_life: events back at which an event counts half; `None` counts all alike. Weights of repeats add up.
    """
    data = np.ones(len(contexts.items), dtype=np.float32)
    if half_life is not None:
        newer = contexts.offsets[1:][contexts.rows] - 1 - np.arange(len(contexts.items))
        data = np.exp2(-newer / half_life).astype(np.float32)
    matrix = sparse.csr_matrix((data, contexts.items, contexts.offsets), shape=(len(contexts), n_items), copy=True)
    matrix.sum_duplicates()
    return matrix
