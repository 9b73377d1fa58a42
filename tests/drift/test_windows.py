from datetime import UTC, datetime

import polars as pl

from recloop.drift.windows import Windows, cut
from tests.drift.conftest import DAY, events


def at(*days: float, user: str = "u", item: str = "i") -> list[tuple[str, str, float, str, float]]:
    return [(user, item, day, "view", 1.0) for day in days]


def test_slices_have_the_length_of_the_shorter_window_and_end_with_theirs():
    reference = events(at(0, 1, 2, 3, 4, 5, 6.5))
    windows = Windows.of(reference, events(at(7, 8, 9)))
    assert windows.span == 2 * DAY * 1_000_000 + 1
    assert windows.sequential
    assert windows.reference["slice"].to_list() == [None, 2, 2, 1, 1, 0, 0]
    assert windows.current["slice"].to_list() == [0, 0, 0]


def test_blocks_are_counted_by_window_person_and_slice():
    reference = events(at(0, 2, 3, user="a") + at(1, 3.5, user="b"))
    windows = Windows.of(reference, events(at(4, 5, 5.5, user="b")))
    assert windows.span == 1.5 * DAY * 1_000_000 + 1
    assert windows.blocks().rows() == [(0, 0, 0, 2), (0, 1, 0, 1), (0, 1, 1, 1), (1, 1, 0, 3)]


def test_the_reference_of_late_is_its_newest_days():
    windows = Windows.of(events(at(0, 1, 2, 3, 4, 5, 6.5)), events(at(7, 8, 9)))
    newest = windows.of_late(2)
    assert newest.reference["timestamp"].to_list() == windows.reference["timestamp"].to_list()[-2:]
    assert newest.current.drop("slice").equals(windows.current.drop("slice"))
    assert newest.span == 1.5 * DAY * 1_000_000 + 1
    assert windows.of_late(None) is windows
    assert windows.of_late(100).events.equals(windows.events)


def test_overlapping_windows_are_not_sequential():
    assert not Windows.of(events(at(0, 5)), events(at(5, 9))).sequential


def test_newcomers_are_unknown_to_all_that_came_before():
    reference = events(at(0, item="a") + at(6, item="b") + at(9, item="b") + at(10, item="a"))
    current = events(at(11, item="a") + at(12, item="c") + at(13, item="b"))
    found = Windows.of(reference, current).newcomers("item_id")
    assert found.select("window", "item_id", "unknown").rows() == [
        (0, "b", False),
        (0, "a", False),
        (1, "a", False),
        (1, "c", True),
        (1, "b", False),
    ]


def test_what_is_usual_comes_from_the_newer_half_of_a_short_reference():
    reference = events(at(0, item="a") + at(2, item="b") + at(3, item="a"))
    found = Windows.of(reference, events(at(4, 14, item="b"))).newcomers("item_id")
    assert found.filter(window=0).select("item_id", "unknown").rows() == [("b", True), ("a", False)]


def test_the_first_half_of_the_reference_goes_by_time():
    reference = events(at(0, 1, 8, 9, 10))
    assert Windows.of(reference, events(at(11, 12))).first_half.height == 2


def test_whole_days_are_counted_back_from_the_last_event():
    windows = Windows.of(events(at(0.4, 0.6, 0.7, 3.5)), events(at(5, 5.5)))
    assert windows.days(0).to_list() == [2, 0, 1]
    assert windows.days(1).to_list() == []


def test_a_window_and_what_came_after_it():
    frame = events(at(0, 1, 2, 3, 4, 5))
    window = (datetime(1970, 1, 2, tzinfo=UTC), datetime(1970, 1, 4, tzinfo=UTC))

    def days(part: pl.DataFrame) -> list[int]:
        return [moment.day - 1 for moment in part["timestamp"]]

    assert [days(part) for part in cut(frame, window)] == [[1, 2, 3], [4, 5]]
    assert [days(part) for part in cut(frame, window, days=1)] == [[1, 2, 3], [5]]
    assert [days(part) for part in cut(frame, window, days=90)] == [[1, 2, 3], [4, 5]]
    assert cut(frame.head(4), window, days=1)[1].is_empty()
