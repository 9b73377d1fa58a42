"""The canonical tables: types, order, bytes, and the sentence for every mistake."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recloop.data.tables import (
    TIMESTAMP,
    Tables,
    canonical_attributes,
    canonical_interactions,
    canonical_knowledge,
    read_json,
    read_parquet,
    read_tables,
    require_columns,
    write_json,
    write_parquet,
)
from recloop.errors import DataError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECONDS = 1_769_860_800


def one(timestamp: Any, dtype: Any = None, **more: Any) -> pl.DataFrame:
    columns = {"user_id": ["u"], "item_id": ["i"], "timestamp": pl.Series([timestamp], dtype=dtype)}
    return pl.DataFrame(columns | {name: [value] for name, value in more.items()})


def test_rows_get_types_and_order() -> None:
    frame = pl.DataFrame(
        {
            "item_id": [7, 5, 5],
            "user_id": [2, 10, 2],
            "value": ["3.5", None, "1"],
            "timestamp": [20, 10, 10],
            "note": ["x", "y", "z"],
        }
    )
    table = canonical_interactions(frame, "test")
    assert table.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": TIMESTAMP,
        "event": pl.String,
        "value": pl.Float32,
    }
    assert table["user_id"].to_list() == ["10", "2", "2"]
    assert table["value"].to_list() == [None, 1.0, 3.5]
    assert table["event"].to_list() == ["rating"] * 3


def test_what_is_missing_gets_its_default() -> None:
    assert canonical_interactions(one(0), "test").select("event", "value").rows() == [("view", 1.0)]
    assert canonical_interactions(one(0, value=4), "test").select("event", "value").rows() == [("rating", 4.0)]
    assert canonical_interactions(one(0, event="click"), "test").select("event", "value").rows() == [("click", 1.0)]


@pytest.mark.parametrize(
    ("timestamp", "dtype"),
    [
        (SECONDS, pl.Int64),
        (SECONDS, pl.Int32),
        (SECONDS, pl.UInt32),
        (float(SECONDS), pl.Float64),
        (NOON, None),
        (NOON.replace(tzinfo=None), pl.Datetime("ns")),
        (NOON.astimezone(timezone(timedelta(hours=2))), pl.Datetime("ms", "Europe/Helsinki")),
        ("2026-01-31T12:00:00Z", None),
        ("2026-01-31T14:00:00+02:00", None),
        ("2026-01-31 12:00:00", None),
    ],
)
def test_times_of_every_form_become_utc(timestamp: Any, dtype: Any) -> None:
    assert canonical_interactions(one(timestamp, dtype), "test")["timestamp"].to_list() == [NOON]


def test_dates_are_midnight_and_fractions_are_kept() -> None:
    assert canonical_interactions(one(date(2026, 1, 31)), "test")["timestamp"].to_list() == [NOON.replace(hour=0)]
    assert canonical_interactions(one("2026-01-31"), "test")["timestamp"].to_list() == [NOON.replace(hour=0)]
    half = canonical_interactions(one(SECONDS + 0.5), "test")["timestamp"].to_list()
    assert half == [NOON + timedelta(seconds=0.5)]
    micro = canonical_interactions(one(1_700_000_000.123459), "test")["timestamp"]
    assert micro.cast(pl.Int64).to_list() == [1_700_000_000_123_459]


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (
            one(0).drop("item_id"),
            "log.csv has no column 'item_id'; it has: user_id, timestamp; map or rename one to 'item_id'.",
        ),
        (pl.DataFrame(), "log.csv has no column 'user_id'; it has: none; map or rename one to 'user_id'."),
        (
            one("last week"),
            (
                "log.csv: 1 cell(s) of 'timestamp' are not a date and time, the first is 'last week' in row 0; "
                "write ISO 8601, for example 2026-01-31T12:00:00Z."
            ),
        ),
        (
            pl.concat([one(0, value="4"), one(1, value="four")]),
            (
                "log.csv: 1 cell(s) of 'value' are not a number, the first is 'four' in row 1; "
                "correct it or leave the cell empty."
            ),
        ),
        (
            one(1_769_860_800_000),
            (
                "log.csv: 1 cell(s) of 'timestamp' are not seconds since 1970, the first is 1769860800000 in row 0; "
                "divide milliseconds by 1000, and correct or leave out the rest."
            ),
        ),
        (
            one(float("nan")),
            (
                "log.csv: 1 cell(s) of 'timestamp' are not seconds since 1970, the first is nan in row 0; "
                "divide milliseconds by 1000, and correct or leave out the rest."
            ),
        ),
        (
            one([1], pl.List(pl.Int64)),
            "log.csv: 'timestamp' has type List(Int64); give seconds since 1970 or ISO 8601 text.",
        ),
        (
            one(0).with_columns(item_id=pl.lit(["i1"])),
            "log.csv: 'item_id' has type List(String), but must be text or numbers; convert it.",
        ),
        (
            one(0).with_columns(user_id=pl.lit(b"\xff")),
            "log.csv: 'user_id' has type Binary, but must be text or numbers; convert it.",
        ),
        (
            one(0).with_columns(value=pl.lit([4.0])),
            "log.csv: 'value' has type List(Float64), but must be a number; convert it.",
        ),
    ],
)
def test_every_mistake_gets_its_sentence(frame: pl.DataFrame, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        canonical_interactions(frame, "log.csv")
    assert str(caught.value) == sentence


def test_attributes_come_by_key() -> None:
    table = canonical_attributes(pl.DataFrame({"title": ["Z", "A"], "item_id": [9, 10]}), "item_id", "items.csv")
    assert table.columns == ["item_id", "title"]
    assert table.rows() == [("10", "A"), ("9", "Z")]
    with pytest.raises(DataError, match=r"items.csv has no column 'item_id'"):
        canonical_attributes(pl.DataFrame({"title": ["A"]}), "item_id", "items.csv")


def test_knowledge_is_text_in_order() -> None:
    frame = pl.DataFrame({"tail": [1, 2], "relation": ["r", "r"], "head": ["b", "a"], "extra": [0, 0]})
    assert canonical_knowledge(frame, "test").rows() == [("a", "r", "2"), ("b", "r", "1")]
    with pytest.raises(DataError, match=r"kg.csv has no column 'relation'"):
        canonical_knowledge(frame.drop("relation"), "kg.csv")


@pytest.mark.parametrize(
    ("required", "sentence"),
    [
        (("b", "a"), None),
        ((), None),
        (("b", "c", "d"), "log.csv has no column 'c'; it has: a, b; map or rename one to 'c'."),
    ],
)
def test_required_columns_that_exist_are_silent(required: tuple[str, ...], sentence: str | None) -> None:
    found = None
    try:
        require_columns(pl.DataFrame({"a": [1], "b": [2]}), required, "log.csv")
    except DataError as error:
        found = str(error)
    assert found == sentence


def test_a_table_without_columns_says_so() -> None:
    with pytest.raises(DataError) as caught:
        require_columns(pl.DataFrame(), ("a",), "log.csv")
    assert str(caught.value) == "log.csv has no column 'a'; it has: none; map or rename one to 'a'."


def test_parquet_keeps_types_and_bytes(tmp_path: Path) -> None:
    frame = canonical_interactions(one("2026-01-31T12:00:00Z", value=2.5), "test")
    lists = pl.DataFrame({"item_id": ["i"], "categories": [["Drama", "War"]]})
    for name, table in (("x", frame), ("y", lists)):
        write_parquet(table, tmp_path / "deep" / f"{name}.parquet")
        write_parquet(pl.concat([table]), tmp_path / f"{name}.parquet")
        assert read_parquet(tmp_path / f"{name}.parquet").equals(table)
        assert read_parquet(tmp_path / f"{name}.parquet").schema == table.schema
        assert (tmp_path / f"{name}.parquet").read_bytes() == (tmp_path / "deep" / f"{name}.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["x.parquet"] * 2 + ["y.parquet"] * 2


def test_a_missing_or_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(DataError) as caught:
        read_parquet(path)
    assert str(caught.value) == f"{path} does not exist; run the step that writes it, or correct the path."
    write_parquet(pl.DataFrame({"a": [1, 2, 3]}), path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError) as caught:
        read_parquet(path, "the log")
    assert str(caught.value).startswith("the log is not a readable Parquet file (")
    assert str(caught.value).endswith("); fetch or write it again.")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        read_parquet(path)


def test_a_data_folder_is_read_whole(tmp_path: Path) -> None:
    write_parquet(canonical_interactions(one(20), "test"), tmp_path / "interactions" / "b.parquet")
    write_parquet(canonical_interactions(one(30), "test"), tmp_path / "interactions" / "a.parquet")
    write_parquet(pl.DataFrame({"item_id": ["i"]}), tmp_path / "items.parquet")
    tables = read_tables(tmp_path)
    assert [time.second for time in tables.interactions["timestamp"]] == [20, 30]
    assert list(tables.present()) == ["interactions", "items"]
    assert tables.users is None


def test_present_lists_all_tables_there_are() -> None:
    frame = pl.DataFrame({"a": [1]})
    tables = Tables(interactions=frame, items=frame, users=frame, knowledge=frame)
    assert list(tables.present()) == ["interactions", "items", "users", "knowledge"]


def test_a_data_folder_needs_interactions(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_tables(tmp_path)
    assert str(caught.value) == f"{tmp_path}/interactions holds no Parquet file; run 'recloop ingest' first."
    write_parquet(pl.DataFrame({"user_id": ["u"]}), tmp_path / "interactions" / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet has no column 'item_id'"):
        read_tables(tmp_path)


def test_json_is_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json({"b": [1, None], "a": {"z": 0.5, "y": "ü"}}, path)
    text = path.read_text(encoding="utf-8")
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")
    assert read_json(path) == {"b": [1, None], "a": {"z": 0.5, "y": "ü"}}


def test_json_without_a_meaning_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json({"a": 1}, path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, path)
    assert read_json(path) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["x.json"]


def test_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(DataError) as caught:
        read_json(path)
    assert str(caught.value) == f"{path} does not exist; run the stage that writes it."
    for broken in (b'{"a": ', b"\xff\xfe"):
        path.write_bytes(broken)
        with pytest.raises(DataError) as caught:
            read_json(path)
        assert str(caught.value) == f"{path} is not valid JSON; run the stage that writes it again."


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    write_parquet(pl.DataFrame({"a": [1]}), path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pyarrow.parquet.write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_parquet(pl.DataFrame({"a": [2]}), path)
    assert read_parquet(path)["a"].to_list() == [1]
    assert [found.name for found in tmp_path.iterdir()] == ["x.parquet"]
