import numpy as np
import pytest

from recloop.policies import find, plackett_luce
from tests.support.slates import assert_frequencies_match, candidates, draws

POLICY = find("plackett_luce")


def test_propensities_by_hand() -> None:
    """Weights 6, 3, 1: the chance of (a, b) is 6/10 and then 3/4; of (c, b) 1/10 and then 3/9."""
    given = candidates(np.log(6), np.log(3), np.log(1))
    found = {tuple(s.items.tolist()): s.propensities for s in draws(POLICY, given, 2, 400, standardize=False)}
    np.testing.assert_allclose(found[100, 101], [6 / 10, 3 / 4], rtol=1e-6)
    np.testing.assert_allclose(found[102, 101], [1 / 10, 3 / 9], rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_slates_are_drawn_as_often_as_their_propensities_say(k: int) -> None:
    given = candidates(1.0, 0.5, 0.5, -0.2)
    assert_frequencies_match(draws(POLICY, given, k, 6_000), given, k)


def test_a_temperature_of_two_takes_the_square_root_of_the_weights() -> None:
    given = candidates(np.log(9), np.log(1))
    slate = next(s for s in draws(POLICY, given, 1, 50, standardize=False, temperature=2.0) if s.items[0] == 100)
    np.testing.assert_allclose(slate.propensities, [3 / 4], rtol=1e-6)


def test_standardized_scores_do_not_depend_on_the_scale() -> None:
    small, large = candidates(3.0, 1.0, -1.0), candidates(3e6, 1e6, -1e6)
    for one, other in zip(draws(POLICY, small, 3, 30), draws(POLICY, large, 3, 30), strict=True):
        assert one.items.tolist() == other.items.tolist()
        np.testing.assert_allclose(one.propensities, other.propensities, rtol=1e-6)


def test_a_low_temperature_gives_the_best_first_and_scores_far_apart_do_not_overflow() -> None:
    for slate in draws(POLICY, candidates(3e30, 1.0, -3e30), 3, 20, standardize=False, temperature=1e-6):
        assert slate.items.tolist() == [100, 101, 102]
        assert slate.propensities.tolist() == [1.0, 1.0, 1.0]


def test_equal_scores_are_equally_likely() -> None:
    slate = plackett_luce.slate(candidates(2.0, 2.0, 2.0), 3, plackett_luce.Config(), np.random.default_rng(5))
    np.testing.assert_allclose(slate.propensities, [1 / 3, 1 / 2, 1])
