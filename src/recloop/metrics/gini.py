"""Gini index of exposure at k."""

import numpy as np

from recloop.metrics.base import Slates


def gini(slates: Slates, k: int) -> float:
    """How unequally the first `k` places are spread over the catalogue: 0 evenly, near 1 on a single item.

    With the exposures of all I items in ascending order, x_1 <= ... <= x_I,
    ``G = sum of (2 i - I - 1) x_i / (I sum of x_i)``; its largest value is ``(I - 1) / I``. 0 where nothing was shown.

    Fleder and Hosanagar, Blockbuster culture's next rise or fall, Management Science 2009.
    """
    shown = np.sort(slates.exposure(k))
    size, total = len(shown), int(shown.sum())
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, size + 1) - size - 1) @ shown / (size * total))
