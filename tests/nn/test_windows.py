import numpy as np
import pytest

from recloop.nn.windows import PADDING, Windows, newest, prepend, runs, with_start

OFFSETS, ITEMS = np.array([0, 5, 5, 6, 8]), np.array([0, 1, 2, 3, 4, 2, 4, 3])
"""Histories of five events, of none, of one and of two."""


def windows(length: int) -> Windows:
    return Windows(*with_start(OFFSETS, ITEMS, 5), length)


def test_the_start_token_comes_before_every_history() -> None:
    offsets, items = with_start(np.array([0, 2, 2, 3]), np.array([1, 2, 0]), 3)
    assert offsets.tolist() == [0, 3, 4, 6]
    assert items.tolist() == [3, 1, 2, 3, 3, 0]
    assert offsets.dtype == items.dtype == np.int64


def test_each_history_can_have_a_first_number_of_its_own() -> None:
    times = prepend(np.array([0, 2, 2, 3]), np.array([10, 20, 30]), np.array([9, 7, 29]))
    assert times.tolist() == [9, 10, 20, 7, 29, 30]


def test_runs_end_where_they_are_told() -> None:
    assert runs(np.array([4, 9, 2]), np.array([3, 0, 2])).tolist() == [1, 2, 3, 0, 1]
    assert runs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)).tolist() == []


def test_windows_predict_every_event_once_from_the_newest_back() -> None:
    cut = windows(2)
    assert len(cut) == 5
    sequences, targets = cut.batch(np.arange(5))
    assert sequences.tolist() == [[2, 3], [0, 1], [PADDING, 5], [PADDING, 5], [5, 4]]
    assert targets.tolist() == [3, 4, 1, 2, 0, 2, 4, 3]
    sequences, targets = cut.batch(np.array([3, 2]))
    assert sequences.tolist() == [[5], [5]]
    assert targets.tolist() == [2, 0]


def test_events_of_windows_lie_where_any_column_has_them() -> None:
    source, sizes = windows(2).events(np.array([4, 1, 2]))
    assert source.tolist() == [9, 10, 1, 2, 0]
    assert sizes.tolist() == [2, 2, 1]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
def test_every_length_covers_every_event_but_the_start(length: int) -> None:
    cut = windows(length)
    source, sizes = cut.events(np.arange(len(cut)))
    assert sizes.max() <= length
    assert sizes.min() >= 1
    assert sorted((source + 1).tolist()) == [1, 2, 3, 4, 5, 8, 10, 11]


def test_nothing_to_predict_gives_no_windows() -> None:
    assert len(Windows(*with_start(np.array([0, 0, 0]), np.zeros(0, dtype=np.int64), 5), 3)) == 0
    assert len(Windows(np.array([0, 0, 1]), np.array([2]), 3)) == 0


def test_the_newest_events_end_together() -> None:
    assert newest(OFFSETS, ITEMS, 3).tolist() == [[2, 3, 4], [-1, -1, -1], [-1, -1, 2], [-1, 4, 3]]
    assert newest(np.array([0, 1, 1]), np.array([7]), 3, padding=9).tolist() == [[7], [9]]
    assert newest(np.array([0, 0]), np.zeros(0, dtype=np.int64), 3).tolist() == [[PADDING]]
    assert newest(np.array([0]), np.zeros(0, dtype=np.int64), 3).shape == (0, 1)


def test_windows_can_be_put_in_order_of_length() -> None:
    cut = windows(2)
    assert cut.by_length(np.array([4, 3, 0, 2])).tolist() == [3, 2, 4, 0]
