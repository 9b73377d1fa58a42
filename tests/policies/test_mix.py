import numpy as np
import pytest

from recloop.config import parse
from recloop.errors import ConfigError
from recloop.policies import find, mix
from tests.support.slates import assert_frequencies_match, candidates, draws

POLICY = find("mix")
GIVEN = candidates(
    4.0, 3.0, 2.0, 1.0, popularity=np.array([1.0, 5.0, 9.0, 5.0]), age=np.array([np.inf, 7.0, 2.0, np.inf])
)
SHARES = {"model": 5, "popular": 3, "fresh": 2}


def test_propensities_by_hand() -> None:
    """By model a b c d, popular c b d a, fresh c b a d. First: a 0.5, c 0.3 + 0.2; after a, c 0.5; after c, b 0.5."""
    found = {tuple((s.items - 100).tolist()): s.propensities for s in draws(POLICY, GIVEN, 3, 500, shares=SHARES)}
    np.testing.assert_allclose(found[0, 1, 2], [0.5, 0.5, 1.0])
    np.testing.assert_allclose(found[2, 0, 1], [0.5, 0.5, 1.0])
    np.testing.assert_allclose(found[2, 1, 0], [0.5, 0.5, 0.7])
    np.testing.assert_allclose(found[2, 1, 3], [0.5, 0.5, 0.3])


@pytest.mark.parametrize("k", [1, 3, 4])
def test_slates_are_drawn_as_often_as_their_propensities_say(k: int) -> None:
    slates = draws(POLICY, GIVEN, k, 4_000, shares=SHARES)
    assert_frequencies_match(slates, GIVEN, k)
    np.testing.assert_allclose(sum({tuple(s.items.tolist()): s.slate_propensity for s in slates}.values()), 1.0)


def test_needs_what_its_sources_order_by() -> None:
    assert mix.Config(shares={"model": 1.0}).needs == frozenset()
    assert mix.Config().needs == {"popularity", "age"}


def test_a_share_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mix\.shares is .*, but every share must be greater than 0; correct"):
        parse(mix.Config, {"shares": {"model": 1, "fresh": 0}}, "mix")
