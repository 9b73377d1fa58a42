from typing import Any

import numpy as np
from scipy import integrate, stats

from recloop.policies import Clicks, find
from tests.support.slates import candidates, draws

POLICY = find("thompson")
CLICKS = Clicks(clicks=np.array([3.0, 1.0, 0.0]), examined=np.array([6.0, 1.5, 8.0]))
GIVEN = candidates(3.0, 2.0, 1.0, clicks=CLICKS)
POSTERIORS: list[Any] = [stats.beta(4, 4), stats.beta(2, 1.5), stats.beta(1, 9)]


def chance(item: int, left: list[int]) -> float:
    """The probability that `item` has the largest attraction of those left, by quadrature."""
    others = [POSTERIORS[other] for other in left if other != item]
    value, _ = integrate.quad(lambda x: POSTERIORS[item].pdf(x) * np.prod([one.cdf(x) for one in others]), 0, 1)
    return float(value)


def test_items_are_drawn_and_propensities_estimated_as_quadrature_says() -> None:
    slates = draws(POLICY, GIVEN, 2, 1_500, draws=200)
    first = np.array([slate.items[0] - 100 for slate in slates])
    for item in range(3):
        exact = chance(item, [0, 1, 2])
        assert abs((first == item).mean() - exact) < 4.5 * (exact * (1 - exact) / len(slates)) ** 0.5
        stated = [slate.propensities[0] for slate in slates if slate.items[0] - 100 == item]
        np.testing.assert_allclose(np.mean(stated), exact, atol=0.01 if len(stated) > 100 else 0.03)
    after = [slate for slate in slates if slate.items[0] == 101]
    np.testing.assert_allclose(
        np.mean([slate.propensities[1] for slate in after if slate.items[1] == 100]), chance(0, [0, 2]), atol=0.01
    )


def test_propensities_are_marked_as_estimated_and_the_last_candidate_left_is_certain() -> None:
    slate = draws(POLICY, GIVEN, 3, 1, draws=50)[0]
    assert not slate.exact
    assert slate.propensities[2] == 1.0


def test_impressions_count_by_how_likely_their_place_was_looked_at() -> None:
    """Item 0 at places 0 and 1, clicked at 1; item 2 at place 4, which counts as the last known one."""
    clicks = Clicks.of(
        np.array([0, 0, 2]), np.array([0, 1, 4]), np.array([False, True, False]), np.array([1.0, 0.5, 0.25]), 4
    )
    assert clicks.clicks.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert clicks.examined.tolist() == [1.5, 0.0, 0.25, 0.0]
