import numpy as np
import pytest

from recloop.metrics.base import Ranking
from recloop.metrics.map import average_precision


def test_values_by_hand(ranking: Ranking, nobody: Ranking) -> None:
    # three answers, found at places 1 and 3: (1/1 + 2/3) / 3
    assert average_precision(ranking, 5).tolist() == pytest.approx([(1 + 2 / 3) / 3, 1 / 5, 0, 1])
    assert average_precision(nobody, 5).tolist() == []


def test_a_cut_slate_of_answers_only_is_perfect(ranking: Ranking) -> None:
    assert average_precision(ranking, 2).tolist() == pytest.approx([1 / 2, 0, 0, 1])


def test_the_order_of_the_targets_is_irrelevant() -> None:
    def of(ranks: list[int]) -> float:
        ranking = Ranking(ranks=np.array(ranks), offsets=np.array([0, 3]), n_candidates=np.array([9]))
        return float(average_precision(ranking, 9)[0])

    assert of([6, 1, 3]) == of([1, 3, 6]) == pytest.approx((1 / 2 + 2 / 4 + 3 / 7) / 3)
