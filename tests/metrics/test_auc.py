import numpy as np
import pytest

from recloop.metrics.auc import auc
from recloop.metrics.base import Ranking


def test_values_by_hand(ranking: Ranking, nobody: Ranking) -> None:
    # 7 candidates, answers at ranks 0 and 2, one never found; 5 wrong: pairs won 5 + 4 + 0 of 15
    # 6 candidates, one answer at rank 4: before 1 of 5 wrong ones; then one never found; then nothing wrong to beat
    values = auc(ranking)
    assert values[:3].tolist() == pytest.approx([9 / 15, 1 / 5, 0])
    assert np.isnan(values[3])
    assert auc(nobody).tolist() == []


def test_it_agrees_with_counting_all_pairs() -> None:
    random = np.random.default_rng(3)
    order = random.permutation(11)
    answers = order[:4]
    ranking = Ranking(ranks=answers, offsets=np.array([0, 4]), n_candidates=np.array([11]))
    won = [answer < other for answer in answers for other in order[4:]]
    assert auc(ranking)[0] == pytest.approx(np.mean(won))
