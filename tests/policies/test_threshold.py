import numpy as np
import pytest

from recloop.policies import threshold
from tests.support.slates import candidates


@pytest.mark.parametrize(
    ("bound", "floor", "k", "shown"),
    [(1.0, 0, 5, 2), (1.0, 0, 1, 1), (9.0, 0, 5, 0), (9.0, 3, 5, 3), (9.0, 8, 5, 4), (9.0, 3, 2, 2), (0.0, 1, 5, 4)],
)
def test_shows_what_is_above_the_bound_or_the_floor(bound: float, floor: int, k: int, shown: int) -> None:
    given = candidates(3.0, 2.0, 1.0, 0.5)
    config = threshold.Config(bound=bound, floor=floor)
    slate = threshold.slate(given, k, config, np.random.default_rng(0))
    assert slate.items.tolist() == [100, 101, 102, 103][:shown]
    assert slate.propensities.tolist() == [1.0] * shown
