import json
from datetime import UTC, datetime, timedelta

import polars as pl

from benchmarks import transfer
from benchmarks.transfer import last_of, learnt

ITEMS = pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["one", "two", "three", "four"]})
START = datetime(2020, 1, 1, tzinfo=UTC)


def events(histories: dict[str, str]) -> pl.DataFrame:
    rows = [
        (user, item, START + timedelta(seconds=step), 1.0)
        for user, items in histories.items()
        for step, item in enumerate(items)
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_the_last_event_of_each_person_is_asked_from_those_before() -> None:
    questions = last_of(events({"u": "abd", "v": "ca"}), ITEMS)
    assert questions.targets.tolist() == [3, 0]
    assert [questions.contexts(row, row + 1).items.tolist() for row in range(2)] == [[0, 1], [2]]


def test_what_is_learnt_leaves_the_last_events_for_validation() -> None:
    data = learnt(events({"u": "abd", "v": "ca"}), ITEMS)
    assert data.histories.items.tolist() == [0, 1, 2]
    assert data.valid is not None
    assert data.valid.targets.tolist() == [3, 0]
    assert data.n_items == 4
    assert data.items is not None
    assert data.items["title"].to_list() == ["one", "two", "three", "four"]


def test_the_page_is_written_from_the_results() -> None:
    assert transfer.TABLE.read_text(encoding="utf-8") == transfer.table(
        json.loads(transfer.RESULTS.read_text(encoding="utf-8"))
    )
