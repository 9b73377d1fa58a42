"""Seven candidates of two categories, the five best of the first."""

import numpy as np
import pytest

from recloop.policies import calibrated
from tests.support.slates import candidates

SCORES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0)
CATEGORIES = np.array([[1, 0, 0]] * 5 + [[0, 1, 0]] * 2, dtype=np.float64)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("history", "weight", "places"),
    [
        ([0.5, 0.5, 0.0], 0.0, [0, 1, 2, 3]),
        ([0.5, 0.5, 0.0], 0.9, [0, 5, 1, 6]),
        ([0.0, 1.0, 0.0], 0.9, [5, 6, 0, 1]),
        ([0.0, 0.0, 0.0], 0.9, [0, 1, 2, 3]),
        ([0.0, 0.0, 1.0], 0.9, [0, 1, 2, 3]),
    ],
)
def test_follows_the_categories_of_the_history(history: list[float], weight: float, places: list[int]) -> None:
    given = candidates(*SCORES, categories=CATEGORIES, history_categories=np.array(history))
    slate = calibrated.slate(given, 4, calibrated.Config(calibration=weight), RNG)
    assert (slate.items - 100).tolist() == places
    assert slate.propensities.tolist() == [1.0] * 4


def test_the_turning_point_by_hand() -> None:
    """Two candidates, relevance 1 and 0, a history of the second's category alone.

    The first costs a divergence of log(1 / 0.01) = 4.605, the second none: it is shown from lambda = 1 / 5.605 on.
    """
    given = candidates(8.0, 3.0, categories=np.array([[1.0, 0], [0, 1.0]]), history_categories=np.array([0, 1.0]))
    below, above = (
        calibrated.slate(given, 1, calibrated.Config(calibration=weight), RNG).items.tolist()
        for weight in (1 / 5.61, 1 / 5.60)
    )
    assert (below, above) == ([100], [101])
