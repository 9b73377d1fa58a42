"""Ratings as sparse matrices.

Shapes: B contexts, I items, N ratings.
"""

import numpy as np
from scipy import sparse

from recloop.data.sequences import Contexts


def mean_ratings(contexts: Contexts, n_items: int) -> sparse.csr_matrix:
    """Contexts x items, float32 (B, I): what each item of a history was rated, the mean where it was rated repeatedly.

    A rating of 0 is an entry like all others.
    """
    ratings = contexts.matrix(n_items, weighted=True)
    counts = sparse.csr_matrix(
        (np.ones(len(contexts.items), dtype=np.float32), contexts.items, contexts.offsets), shape=ratings.shape
    )
    counts.sum_duplicates()
    ratings.data = np.divide(ratings.data, counts.data, dtype=np.float32)
    return ratings


def mean(ratings: sparse.csr_matrix) -> float:
    """The mean of all entries, 0 where there are none."""
    return float(ratings.data.mean(dtype=np.float64)) if ratings.nnz else 0.0
