"""Area under the receiver operating characteristic."""

import numpy as np

from recloop.metrics.base import UNRANKED, Floats, Ranking


def auc(ranking: Ranking) -> Floats:
    """The chance that a right answer stands before a wrong candidate, both drawn at random, (E,).

    With R right answers of which F are candidates, at ranks r counted from 0 in ascending order j = 0 .. F - 1, and N
    wrong candidates, ``r - j`` wrong ones stand before the j-th, so ``AUC = sum of (N - (r - j)) / (R N)``. A right
    answer that is no candidate stands behind every wrong one. Ties are resolved as in the ranking, not counted as half.
    NaN where there is no wrong candidate: nothing is to be told apart.

    Hanley and McNeil, The meaning and use of the area under a ROC curve, Radiology 1982.
    """
    ranked = ranking.ranks != UNRANKED
    n_ranked = ranking.total(ranked)
    before = ranking.total(np.where(ranked, ranking.ranks, 0)) - n_ranked * (n_ranked - 1) / 2
    wrong = ranking.n_candidates - n_ranked
    pairs = ranking.n_relevant * wrong
    return np.divide(n_ranked * wrong - before, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
