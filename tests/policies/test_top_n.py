import numpy as np

from recloop.policies import top_n
from tests.support.slates import candidates

RNG = np.random.default_rng(0)


def test_takes_the_first_in_their_order_with_certainty() -> None:
    slate = top_n.slate(candidates(0.9, 0.5, 0.5), 2, top_n.Config(), RNG)
    assert slate.items.tolist() == [100, 101]
    assert slate.scores.tolist() == [np.float32(0.9), 0.5]
    assert slate.propensities.tolist() == [1.0, 1.0]
    assert slate.exact


def test_fewer_candidates_than_places_give_a_short_slate() -> None:
    slate = top_n.slate(candidates(0.9, 0.5, 0.5), 5, top_n.Config(), RNG)
    assert slate.items.tolist() == [100, 101, 102]
    assert slate.propensities.tolist() == [1.0, 1.0, 1.0]


def test_no_candidates_give_an_empty_slate() -> None:
    slate = top_n.slate(candidates(), 5, top_n.Config(), RNG)
    assert len(slate.items) == len(slate.scores) == len(slate.propensities) == 0
