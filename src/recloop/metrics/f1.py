"""F1 at k."""

from recloop.metrics.base import Floats, Ranking


def f1(ranking: Ranking, k: int) -> Floats:
    """The harmonic mean of precision and recall at `k`, (E,).

    With P = found / k and Q = found / R for R right answers, ``2 P Q / (P + Q) = 2 found@k / (k + R)``; 0 where nothing
    is found. It is taken per example and then averaged, which is not the F1 of the averages.
    """
    return 2 * ranking.found(k) / (k + ranking.n_relevant)
