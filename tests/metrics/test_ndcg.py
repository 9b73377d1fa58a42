from math import log2

import pytest

from recloop.metrics.base import Ranking
from recloop.metrics.ndcg import ndcg


def test_values_by_hand(ranking: Ranking, nobody: Ranking) -> None:
    # three answers: found at ranks 0 and 2, ideally at 0, 1 and 2
    first = (1 + 1 / 2) / (1 + 1 / log2(3) + 1 / 2)
    assert ndcg(ranking, 5).tolist() == pytest.approx([first, 1 / log2(6), 0, 1])
    assert ndcg(nobody, 5).tolist() == []


def test_the_ideal_is_cut_too(ranking: Ranking) -> None:
    assert ndcg(ranking, 2).tolist() == pytest.approx([1 / (1 + 1 / log2(3)), 0, 0, 1])
    assert ndcg(ranking, 1).tolist() == [1, 0, 0, 1]
