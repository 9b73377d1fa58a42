import numpy as np

from recloop.metrics.base import Slates
from recloop.metrics.coverage import coverage


def test_share_of_the_catalogue_shown(slates: Slates) -> None:
    assert coverage(slates, 1) == 2 / 5
    assert coverage(slates, 4) == 1.0


def test_an_empty_catalogue_is_not_covered() -> None:
    assert coverage(Slates(items=np.full((2, 3), -1), popularity=np.array([], dtype=np.int64)), 3) == 0.0
