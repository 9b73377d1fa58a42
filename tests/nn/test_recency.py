from dataclasses import replace

import numpy as np

from recloop.data.sequences import Contexts
from recloop.nn.recency import faded_matrix, recent_matrix

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


def test_ages_fade_from_the_newest_event_of_each_history_or_from_a_moment() -> None:
    day = 86_400_000_000
    plain = Contexts.from_lists([[0, 1, 0], [], [2]])
    contexts = replace(plain, timestamps=np.array([0, 1, 2, 0], dtype=np.int64) * day)
    own = faded_matrix(contexts, 3, 1.0).toarray()
    np.testing.assert_allclose(own, [[1, 0.5, 0], [0, 0, 0], [0, 0, 1]])
    from_then = faded_matrix(contexts, 3, 1.0, now=3 * day).toarray()
    np.testing.assert_allclose(from_then, [[0.5, 0.25, 0], [0, 0, 0], [0, 0, 1 / 8]])
    assert faded_matrix(Contexts.from_lists([[]]), 3, 1.0).nnz == 0
