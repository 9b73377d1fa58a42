import json
from datetime import UTC, datetime, timedelta

import polars as pl

from benchmarks import warm_start
from benchmarks.warm_start import cut, learnt, some

START = datetime(2020, 1, 1, tzinfo=UTC)


def events(histories: dict[str, str]) -> pl.DataFrame:
    rows = [
        (user, item, START + timedelta(seconds=step), 1.0)
        for user, items in histories.items()
        for step, item in enumerate(items)
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_each_persons_events_are_cut_in_their_own_order() -> None:
    slices = cut(events({"u": "abcdefghij", "v": "klmno"}))
    assert slices.first["item_id"].to_list() == [*"abcdefg", *"klmn"]
    assert slices.next["item_id"].to_list() == ["h"]
    assert slices.valid["item_id"].to_list() == ["i", "o"]
    assert slices.test["item_id"].to_list() == ["j"]


def test_what_is_learnt_lies_before_what_validates() -> None:
    slices = cut(events({"u": "abcdefghab"}))
    items, data = learnt(slices.first, slices.next)
    assert items.ids.to_list() == [*"abcdefg"]
    assert data.histories.items.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert data.valid is not None
    assert (data.valid.targets.tolist(), data.valid.stops.tolist()) == ([-1], [7])


def test_people_are_drawn_whole() -> None:
    drawn = some(events({"u": "abc", "v": "ab", "w": "abcd"}), 2)
    assert drawn["user_id"].n_unique() == 2
    assert drawn.height == sum({"u": 3, "v": 2, "w": 4}[user] for user in drawn["user_id"].unique())


def test_the_page_is_written_from_the_results() -> None:
    assert warm_start.TABLE.read_text(encoding="utf-8") == warm_start.table(
        json.loads(warm_start.RESULTS.read_text(encoding="utf-8"))
    )
