import pytest

from recloop.metrics.base import Ranking
from recloop.metrics.f1 import f1
from recloop.metrics.precision import precision
from recloop.metrics.recall import recall


def test_values_by_hand(ranking: Ranking, nobody: Ranking) -> None:
    # first example, k = 2: one found, precision 1/2, recall 1/3, harmonic mean 2 * 1/6 / (5/6) = 2/5
    assert f1(ranking, 2).tolist() == pytest.approx([2 / 5, 0, 0, 4 / 7])
    assert f1(nobody, 2).tolist() == []


def test_it_is_the_harmonic_mean_where_something_is_found(ranking: Ranking) -> None:
    p, r = precision(ranking, 5), recall(ranking, 5)
    found = p > 0
    assert f1(ranking, 5)[found].tolist() == pytest.approx((2 * p * r / (p + r).clip(1e-9))[found].tolist())
