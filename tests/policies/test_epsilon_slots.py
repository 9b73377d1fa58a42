import numpy as np
import pytest

from recloop.policies import find
from tests.support.slates import assert_frequencies_match, candidates, draws

POLICY = find("epsilon_slots")


def test_propensities_by_hand() -> None:
    """Epsilon 0.3 over three: the best 0.1 + 0.7, any other 0.1; then over two: 0.15 + 0.7 and 0.15."""
    given = candidates(3.0, 2.0, 1.0)
    found = {tuple(s.items.tolist()): s.propensities for s in draws(POLICY, given, 2, 400, epsilon=0.3)}
    np.testing.assert_allclose(found[100, 101], [0.8, 0.85])
    np.testing.assert_allclose(found[100, 102], [0.8, 0.15])
    np.testing.assert_allclose(found[102, 100], [0.1, 0.85])


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_slates_are_drawn_as_often_as_their_propensities_say(k: int) -> None:
    given = candidates(1.0, 0.5, 0.5, -0.2)
    assert_frequencies_match(draws(POLICY, given, k, 6_000, epsilon=0.7), given, k)


def test_without_epsilon_the_best_come_first_with_certainty() -> None:
    for slate in draws(POLICY, candidates(3.0, 2.0, 1.0), 2, 20, epsilon=0.0):
        assert slate.items.tolist() == [100, 101]
        assert slate.propensities.tolist() == [1.0, 1.0]
