"""Preferences of people and items from the leading singular vectors of who took what.

Shen et al., "How powerful is graph convolution for recommendation?" (GF-CF), CIKM 2021, whose ideal low-pass filter
this is; Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011, for the computation.
Shapes: U people, I items, D factors.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_ROUNDS = 6
_EXTRA = 8


def preferences(
    matrix: sparse.csr_matrix, factors: int, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors ``a`` and ``q`` of all items, float32 (I, D) each.

    The score of item i for a history of n items is ``n^-1/2 (sum_j a_j) . q_i`` with ``a_j = v_j d_j^-1/2`` and
    ``q_i = v_i d_i^1/2``: ``d_i`` is the number of people who took item i and ``v`` (I, D) are the right singular
    vectors of ``n_u^-1/2 x_ui d_i^-1/2``. Items that nobody took get zeros, as do factors that the matrix lacks.

    Args:
        matrix: ``x``, ones where someone took something, (U, I).
        factors: D.
        random: draws the start of the iteration.
    """
    taken = np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel()
    lengths = np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
    down = np.where(taken > 0, np.maximum(taken, 1) ** -0.5, 0)
    normed = sparse.diags(np.maximum(lengths, 1) ** -0.5) @ matrix.astype(np.float64) @ sparse.diags(down)
    most = min(len(lengths), len(taken))
    rank = min(factors, most)
    basis = random.standard_normal((len(taken), min(rank + _EXTRA, most)))
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(normed.T @ (normed @ basis))[0]
    projected = normed @ basis
    _, rotation = np.linalg.eigh(projected.T @ projected)
    vectors = np.zeros((len(taken), factors))
    vectors[:, :rank] = (basis @ rotation[:, ::-1])[:, :rank]
    return (vectors * down[:, None]).astype(np.float32), (vectors * np.sqrt(taken)[:, None]).astype(np.float32)
