"""Mean average precision at k."""

import numpy as np

from recloop.metrics.base import Floats, Ranking


def average_precision(ranking: Ranking, k: int) -> Floats:
    """The precision at the places of the right answers, averaged, (E,); its mean over examples is MAP.

    ``AP@k = sum over right answers with rank r < k of (right answers with rank <= r) / (r + 1), over min(k, R)`` with R
    right answers. Dividing by ``min(k, R)`` lets a perfect slate reach 1; some libraries divide by R.

    Manning, Raghavan and Schütze, Introduction to Information Retrieval, section 8.4.
    """
    owners = ranking.owners
    ranks = ranking.ranks[np.lexsort((ranking.ranks, owners))]
    place = np.arange(len(ranks)) - ranking.offsets[owners] + 1
    found = ranks < k
    terms = np.zeros(len(ranks))
    terms[found] = place[found] / (ranks[found] + 1)
    return ranking.total(terms) / np.minimum(ranking.n_relevant, k)
