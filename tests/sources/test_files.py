from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from recloop.config import parse
from recloop.errors import ConfigError, DataError, SourceError
from recloop.sources import SourceContext, files

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEXT = datetime(2024, 3, 2, tzinfo=UTC)


def write(context: SourceContext, name: str, text: str | bytes) -> Path:
    path = context.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(context: SourceContext, **options: object) -> files.Batch:
    return files.read(parse(files.Config, options, "params.yaml: ingest.files"), context)


def sentence(context: SourceContext, **options: object) -> str:
    with pytest.raises((DataError, SourceError, ConfigError)) as caught:
        read(context, **options)
    return str(caught.value)


def test_many_csv_files_with_a_mapping(context: SourceContext) -> None:
    write(context, "raw/b/events.csv", "uid;sku;when;stars\n007;a;2024-03-02;4.5\n")
    write(context, "raw/a/events.csv", "sku;uid;when;stars;more\nb;8;2024-03-01T12:00:00Z;1;x\n")
    batch = read(
        context,
        interactions="raw/**/*.csv",
        separator=";",
        columns={"user_id": "uid", "item_id": "sku", "timestamp": "when", "value": "stars"},
    )
    assert batch.name == "files"
    assert batch.tables.interactions.rows() == [("8", "b", NOON, "rating", 1.0), ("007", "a", NEXT, "rating", 4.5)]
    assert list(batch.tables.present()) == ["interactions"]


def test_parquet_and_csv_give_the_same_table(context: SourceContext) -> None:
    write(context, "e.csv", "user_id,item_id,timestamp\n1,10,1709294400\n2,10,1709337600\n")
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [10, 10], "timestamp": [NOON, NEXT]})
    frame.write_parquet(context.root / "e.parquet")
    one, other = read(context, interactions="e.csv"), read(context, interactions=["e.parquet"])
    assert one.tables.interactions.equals(other.tables.interactions)
    assert one.tables.interactions["event"].to_list() == ["view", "view"]


def test_paths_may_be_absolute_and_may_overlap(context: SourceContext, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("user_id,item_id,timestamp\n1,10,2024-03-01T12:00:00Z\n", encoding="utf-8")
    batch = read(context, interactions=[str(elsewhere), str(tmp_path / "else*.csv")])
    assert batch.tables.interactions.height == 1


@pytest.mark.parametrize(("unit", "factor"), [("seconds", 1), ("milliseconds", 1_000), ("microseconds", 1_000_000)])
def test_times_may_be_counted_in_other_units(context: SourceContext, unit: str, factor: int) -> None:
    write(context, "e.csv", f"user_id,item_id,timestamp\n1,10,{1709294400 * factor}\n")
    tables = read(context, interactions="e.csv", timestamp_unit=unit, event="purchase").tables
    assert tables.interactions.rows() == [("1", "10", NOON, "purchase", 1.0)]


def test_a_column_of_events_wins_over_the_default(context: SourceContext) -> None:
    write(context, "e.csv", "user_id,item_id,timestamp,kind\n1,10,2024-03-01T12:00,click\n")
    tables = read(context, interactions="e.csv", event="purchase", columns={"event": "kind"}).tables
    assert tables.interactions["event"].to_list() == ["click"]


def test_attributes_and_knowledge(context: SourceContext) -> None:
    write(context, "e.csv", "user_id,item_id,timestamp\n1,10,2024-03-01\n")
    write(context, "new.csv", "sku,title,tags,price\n011,1984,a|b,2.5\n10,Emma,,3\n")
    write(context, "old.csv", "sku,title,tags\n02,Ulysses,c\n")
    pl.DataFrame({"user_id": [7], "since": [date(2020, 1, 1)]}).write_parquet(context.root / "u.parquet")
    write(context, "k.tsv", "subject\trelation\ttail\nitem:10\tby\tAusten\n")
    tables = read(
        context,
        interactions="e.csv",
        items=["new.csv", "old.csv"],
        item_columns={"item_id": "sku", "categories": "tags"},
        users="u.parquet",
        knowledge="k.tsv",
        knowledge_columns={"head": "subject"},
    ).tables
    assert tables.items is not None
    assert tables.items.to_dicts() == [
        {"item_id": "011", "categories": ["a", "b"], "title": "1984", "price": 2.5},
        {"item_id": "02", "categories": ["c"], "title": "Ulysses", "price": None},
        {"item_id": "10", "categories": None, "title": "Emma", "price": 3.0},
    ]
    assert tables.users is not None
    assert tables.users.to_dicts() == [{"user_id": "7", "since": date(2020, 1, 1)}]
    assert tables.knowledge is not None
    assert tables.knowledge.rows() == [("item:10", "by", "Austen")]


def test_a_missing_column_is_named_with_those_that_are_there(context: SourceContext) -> None:
    path = write(context, "e.csv", "user_id,sku,timestamp\n1,10,2024-03-01\n")
    assert sentence(context, interactions="e.csv") == (
        f"{path} has no column 'item_id'; it has: user_id, sku, timestamp; map or rename one to 'item_id'."
    )
    assert sentence(context, interactions="e.csv", columns={"item_id": "article"}) == (
        f"{path} has no column 'article', which ingest.files.columns maps to 'item_id'; it has: user_id, sku, "
        f"timestamp; correct the mapping."
    )
    write(context, "e.csv", "user_id,item_id\n1,10\n")
    assert "has no column 'timestamp'" in sentence(context, interactions="e.csv")


def test_an_unparsable_date_is_shown(context: SourceContext) -> None:
    path = write(context, "e.csv", "user_id,item_id,timestamp\n1,10,2024-03-01\n1,11,yesterday\n")
    assert sentence(context, interactions="e.csv") == (
        f"{path}: 1 cell(s) of 'timestamp' are not a date and time, the first is 'yesterday' in row 1; write ISO 8601, "
        f"for example 2026-01-31T12:00:00Z."
    )
    path = write(context, "e.csv", "user_id,item_id,timestamp\n1,10,1709294400\n1,11,\n1,12,12x\n")
    assert sentence(context, interactions="e.csv") == (
        f"{path}: 1 cell(s) of 'timestamp' are not numbers like the first, the first of them is '12x' in row 2; write "
        f"all times in one form."
    )


def test_a_value_that_is_no_number_is_shown(context: SourceContext) -> None:
    path = write(context, "e.csv", "user_id,item_id,timestamp,value\n1,10,2024-03-01,five\n")
    assert sentence(context, interactions="e.csv").startswith(
        f"{path}: 1 cell(s) of 'value' are not a number, the first is 'five' in row 0;"
    )


@pytest.mark.parametrize("option", ["interactions", "items", "users", "knowledge"])
def test_a_missing_file_is_named(context: SourceContext, option: str) -> None:
    write(context, "e.csv", "user_id,item_id,timestamp\n1,10,2024-03-01\n")
    options: dict[str, object] = {"interactions": "e.csv"} | {option: "raw/*.csv"}
    assert sentence(context, **options) == (
        f"No file matches {context.root}/raw/*.csv, named by ingest.files.{option}; correct the path."
    )


def test_an_empty_file_is_named(context: SourceContext) -> None:
    path = write(context, "e.csv", "")
    assert sentence(context, interactions="e.csv") == (
        f"{path} is empty, but a CSV file needs a header line; fill it or leave it out."
    )
    write(context, "e.csv", "user_id,item_id,timestamp\n")
    assert sentence(context, interactions="e.csv") == (
        f"{path} is empty, but a table needs at least one row; fill it or leave it out."
    )


def test_a_truncated_parquet_file_is_named(context: SourceContext) -> None:
    path = context.root / "e.parquet"
    pl.DataFrame({"user_id": ["1"], "item_id": ["2"], "timestamp": [NOON]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    message = sentence(context, interactions="e.parquet")
    assert message.startswith(f"{path} is not a readable Parquet file (")
    assert message.endswith("); fetch or write it again.")


@pytest.mark.parametrize("row", [b"1,2,2024-03-01,3,4", b"\xff,2,3"])
def test_a_damaged_csv_file_is_named(context: SourceContext, row: bytes) -> None:
    path = write(context, "e.csv", b"user_id,item_id,timestamp\n" + row)
    message = sentence(context, interactions="e.csv")
    assert message.startswith(f"{path} is not a readable CSV file in UTF-8 (")
    assert message.endswith("); correct it.")
    assert "\n" not in message


def test_wrong_options_are_named(context: SourceContext) -> None:
    assert sentence(context) == "params.yaml: ingest.files.interactions is required; add it."
    assert sentence(context, interactions="e.csv", timestamp_unit="days").startswith(
        "params.yaml: ingest.files.timestamp_unit is 'days', but input should be 'seconds', 'milliseconds' or"
    )
    assert sentence(context, interactions="e.csv", columns={"uid": "user_id"}).startswith(
        "params.yaml: ingest.files.columns.uid"
    )


@pytest.mark.parametrize("separator", ["", ";;", "é", '"', "\n"])
def test_a_separator_must_be_one_character(context: SourceContext, separator: str) -> None:
    write(context, "e.csv", "user_id,item_id,timestamp\n1,10,2024-03-01\n")
    assert sentence(context, interactions="e.csv", separator=separator) == (
        f"params.yaml: ingest.files.separator is {separator!r}, but it must be one ASCII character that is neither a "
        f"quote nor the end of a line; correct the value."
    )


def test_at_least_one_file_of_interactions_must_be_named(context: SourceContext) -> None:
    assert sentence(context, interactions=[]).startswith("params.yaml: ingest.files.interactions is [], but tuple")


@pytest.mark.parametrize("path", ["", "/", "a**b/*.csv"])
def test_a_path_that_names_no_file_is_named(context: SourceContext, path: str) -> None:
    assert sentence(context, interactions=path).startswith(
        f"ingest.files.interactions: '{path}' is not the path of a file ("
    )


def test_attributes_of_types_that_do_not_go_together(context: SourceContext) -> None:
    write(context, "e.csv", "user_id,item_id,timestamp\n1,10,2024-03-01\n")
    pl.DataFrame({"item_id": [1], "size": [[1]]}).write_parquet(context.root / "a.parquet")
    pl.DataFrame({"item_id": [2], "size": [{"cm": 1}]}).write_parquet(context.root / "b.parquet")
    message = sentence(context, interactions="e.csv", items="?.parquet")
    assert message.startswith("The files of ingest.files.items give a column types that do not go together (")
    assert message.endswith("); write it in one type everywhere.")


def test_the_case_of_a_suffix_does_not_matter(context: SourceContext) -> None:
    pl.DataFrame({"user_id": ["1"], "item_id": ["2"], "timestamp": [NOON]}).write_parquet(context.root / "E.PARQUET")
    assert read(context, interactions="E.PARQUET").tables.interactions.height == 1
