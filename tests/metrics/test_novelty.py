import numpy as np
import pytest

from recloop.metrics.base import Slates
from recloop.metrics.novelty import novelty


def test_bits_by_hand(slates: Slates) -> None:
    # 16 events: items 0 to 3 carry 1, 2, 3 and 3 bits; item 4 without events counts as one: 4 bits
    values = novelty(slates, 4)
    assert values[:2].tolist() == pytest.approx([(1 + 2 + 3 + 3) / 4, (2 + 1 + 4) / 3])
    assert np.isnan(values[2])


def test_a_catalogue_without_events_surprises_nobody() -> None:
    assert novelty(Slates(items=np.array([[1]]), popularity=np.zeros(2, dtype=np.int64)), 1).tolist() == [0.0]
