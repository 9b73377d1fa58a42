import numpy as np

from recloop.policies import top_n

ITEMS = np.array([7, 2, 9], dtype=np.int64)
SCORES = np.array([0.9, 0.5, 0.5], dtype=np.float32)


def test_takes_the_first_in_their_order_with_certainty() -> None:
    slate = top_n.slate(ITEMS, SCORES, 2)
    assert slate.items.tolist() == [7, 2]
    assert slate.scores.tolist() == [np.float32(0.9), 0.5]
    assert slate.propensities.tolist() == [1.0, 1.0]


def test_fewer_candidates_than_positions_give_a_short_slate() -> None:
    slate = top_n.slate(ITEMS, SCORES, 5)
    assert slate.items.tolist() == [7, 2, 9]
    assert slate.propensities.tolist() == [1.0, 1.0, 1.0]


def test_no_candidates_give_an_empty_slate() -> None:
    slate = top_n.slate(ITEMS[:0], SCORES[:0], 5)
    assert len(slate.items) == len(slate.scores) == len(slate.propensities) == 0
