import numpy as np

from recloop.data.sequences import Contexts
from recloop.nn.recency import recent_matrix

CONTEXTS = Contexts.from_lists([[3, 1, 3], [], [0, 2]])


def test_newer_events_weigh_more_and_repeats_add_up() -> None:
    matrix = recent_matrix(CONTEXTS, 5, half_life=1.0)
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == [[0, 0.5, 0, 1.25, 0], [0] * 5, [0.5, 0, 1, 0, 0]]
    np.testing.assert_allclose(recent_matrix(CONTEXTS, 5, half_life=2.0)[2, 0], 0.5**0.5)


def test_without_a_half_life_all_events_weigh_the_same() -> None:
    matrix = recent_matrix(CONTEXTS, 5, half_life=None)
    assert matrix.toarray().tolist() == [[0, 1, 0, 2, 0], [0] * 5, [1, 0, 1, 0, 0]]
    assert CONTEXTS.items.tolist() == [3, 1, 3, 0, 2]
