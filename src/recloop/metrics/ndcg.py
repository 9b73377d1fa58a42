"""Normalised discounted cumulative gain at k."""

import numpy as np

from recloop.metrics.base import Floats, Ranking


def ndcg(ranking: Ranking, k: int) -> Floats:
    """How near to the top the right answers stand, between 0 and 1, (E,).

    ``DCG@k`` is the sum of ``1 / log2(r + 2)`` over the right answers with rank r < k, counted from 0. ``nDCG@k``
    divides it by the DCG of the best possible ranking, in which ``min(k, R)`` of the R right answers come first,
    whether or not they are in the catalogue. All right answers gain 1; values of ratings play no part.

    Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 2002.
    """
    found = ranking.ranks < k
    gains = np.zeros(len(ranking.ranks))
    gains[found] = 1 / np.log2(ranking.ranks[found] + 2.0)
    ideal = np.cumsum(1 / np.log2(np.arange(k) + 2.0))
    return ranking.total(gains) / ideal[np.minimum(ranking.n_relevant, k) - 1]
