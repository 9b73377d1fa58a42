"""Hit rate at k."""

from recloop.metrics.base import Floats, Ranking


def hit(ranking: Ranking, k: int) -> Floats:
    """1 where at least one right answer stands among the first `k`, else 0, (E,).

    With one right answer an example it equals recall.
    """
    return (ranking.found(k) > 0).astype(float)
