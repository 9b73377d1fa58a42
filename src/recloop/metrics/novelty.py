"""Novelty at k."""

import numpy as np

from recloop.metrics.base import Floats, Slates


def novelty(slates: Slates, k: int) -> Floats:
    """How surprising the recommended items are: their mean self-information in bits, (E,).

    ``mean over the first k items of -log2(n_i / n)`` with n_i training events of item i and n of all items. Items
    without an event count as if they had one. NaN for an empty slate.

    Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems, PNAS 2010.
    """
    share = np.maximum(slates.popularity, 1) / max(int(slates.popularity.sum()), 1)
    return slates.mean(-np.log2(share), k)
