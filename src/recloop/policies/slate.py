"""A slate: what a person is shown, in order. Shape: K positions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Slate:
    """The outcome of a policy.

    Attributes:
        items: int64 (K,), item indices, best position first.
        scores: float32 (K,), the candidates' scores.
        propensities: float64 (K,), the probability that the policy puts this item at this position.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    propensities: NDArray[np.float64]
