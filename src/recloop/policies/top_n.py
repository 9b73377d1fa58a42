"""The best first, nothing else. Shapes: N candidates, K positions."""

import numpy as np
from numpy.typing import NDArray

from recloop.policies.slate import Slate


def slate(items_N: NDArray[np.int64], scores_N: NDArray[np.float32], k: int) -> Slate:  # noqa: N803 - shapes
    """The first min(k, N) candidates in their order, each with certainty.

    Args:
        items_N: candidates, best first.
        scores_N: their scores.
        k: positions to fill.
    """
    return Slate(items=items_N[:k], scores=scores_N[:k], propensities=np.ones(min(k, len(items_N))))
