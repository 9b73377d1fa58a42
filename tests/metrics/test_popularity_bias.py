import numpy as np
import pytest

from recloop.metrics.base import Slates
from recloop.metrics.popularity_bias import popularity_bias


def test_values_by_hand(slates: Slates) -> None:
    # a training event's item has (64 + 16 + 4 + 4) / 16 = 5.5 events on average; the slates' items 6 and 4
    values = popularity_bias(slates, 2)
    assert values[:2].tolist() == pytest.approx([6 / 5.5 - 1, 6 / 5.5 - 1])
    assert popularity_bias(slates, 4)[:2].tolist() == pytest.approx([4 / 5.5 - 1, 4 / 5.5 - 1])
    assert np.isnan(values[2])


def test_without_events_it_is_undefined() -> None:
    slates = Slates(items=np.array([[0, 1]]), popularity=np.zeros(3, dtype=np.int64))
    assert np.isnan(popularity_bias(slates, 2)).all()
