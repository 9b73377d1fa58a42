"""Mean reciprocal rank."""

import numpy as np

from recloop.metrics.base import UNRANKED, Floats, Ranking


def mrr(ranking: Ranking, k: int | None = None) -> Floats:
    """One over the place of the first right answer, (E,); its mean over examples is the mean reciprocal rank.

    ``1 / (r + 1)`` with r the lowest rank of a right answer, counted from 0. It is 0 where no right answer stands among
    the first `k`, or, without a cut-off, where none is a candidate.
    """
    first = np.minimum.reduceat(ranking.ranks, ranking.offsets[:-1])
    return np.where(first < (k or UNRANKED), 1 / (first + 1.0), 0.0)
