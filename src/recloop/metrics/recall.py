"""Recall at k."""

from recloop.metrics.base import Floats, Ranking


def recall(ranking: Ranking, k: int) -> Floats:
    """The share of the right answers that stand among the first `k`, (E,).

    ``recall@k = found@k / R`` with R right answers, found or not. With more than `k` right answers 1 is out of reach;
    papers that divide by ``min(k, R)`` report higher numbers. Fewer than `k` candidates are no special case.
    """
    return ranking.found(k) / ranking.n_relevant
