import numpy as np
import pytest

from recloop.metrics.base import Slates
from recloop.metrics.gini import gini


def test_values_by_hand(slates: Slates) -> None:
    # exposures 0 0 0 2 2: sum of (2 i - 6) x_i = 2 * 2 + 4 * 2 = 12, over 5 * 4
    assert gini(slates, 2) == pytest.approx(12 / 20)
    # exposures 1 1 1 2 2: -4 - 2 + 0 + 4 + 8 = 6, over 5 * 7
    assert gini(slates, 4) == pytest.approx(6 / 35)


def test_extremes() -> None:
    popularity = np.ones(4, dtype=np.int64)
    assert gini(Slates(items=np.array([[2], [2]]), popularity=popularity), 1) == 3 / 4
    assert gini(Slates(items=np.array([[0, 1], [3, 2]]), popularity=popularity), 2) == 0.0
    assert gini(Slates(items=np.array([[-1]]), popularity=popularity), 1) == 0.0
