"""Precision at k."""

from recloop.metrics.base import Floats, Ranking


def precision(ranking: Ranking, k: int) -> Floats:
    """The share of right answers among the first `k`, (E,).

    ``precision@k = found@k / k``. The divisor is `k` also where fewer than `k` candidates are left, and 1 is out of
    reach with fewer than `k` right answers.
    """
    return ranking.found(k) / k
