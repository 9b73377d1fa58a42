"""Catalogue coverage at k."""

import numpy as np

from recloop.metrics.base import Slates


def coverage(slates: Slates, k: int) -> float:
    """The share of the catalogue that stands among the first `k` of at least one slate.

    0 where the catalogue is empty. It grows with the number of slates: compare it at equal numbers only.

    Ge, Delgado-Battenfeld and Jannach, Beyond accuracy, RecSys 2010.
    """
    return float(np.count_nonzero(slates.exposure(k)) / max(len(slates.popularity), 1))
