"""Intra-list diversity at k."""

import numpy as np
from scipy import sparse

from recloop.metrics.base import Floats, Slates


def diversity(slates: Slates, k: int) -> Floats:
    """How unlike each other the items of a slate are: the mean of 1 - cosine over all pairs of its first `k`, (E,).

    Items without features are left out. NaN where fewer than two items are left, and everywhere without features.

    With unit vectors u of m items, the cosines of the ``m (m - 1) / 2`` pairs add up to ``(|sum of u|^2 - m) / 2``, so
    no pair is looked at by itself.

    Smyth and McClave, Similarity vs. diversity, ICCBR 2001.
    """
    shown = slates.top(k)
    value = np.full(len(shown), np.nan)
    if slates.features is None:
        return value
    features = slates.features.astype(np.float64)
    lengths = np.sqrt(np.asarray(features.multiply(features).sum(axis=1)).ravel())
    described = lengths > 0
    units = sparse.diags_array(np.divide(1.0, lengths, out=np.zeros(len(lengths)), where=described)) @ features
    kept = (shown >= 0) & described[np.maximum(shown, 0)]
    rows = np.nonzero(kept)[0]
    chosen = sparse.csr_array((np.ones(len(rows)), (rows, shown[kept])), shape=(len(shown), len(described)))
    summed = sparse.csr_array(chosen @ units)
    squares = np.asarray(summed.multiply(summed).sum(axis=1)).ravel()
    size = kept.sum(axis=1)
    pairs = size * (size - 1)
    return 1 - np.divide(squares - size, pairs, out=value, where=pairs > 0)
