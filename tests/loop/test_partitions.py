from pathlib import Path

import polars as pl

from recloop.loop.partitions import Partitions

SCHEMA: dict[str, pl.DataType] = {"key": pl.String(), "row": pl.Int64(), "kind": pl.Enum(["a", "b"])}
OTHER: dict[str, pl.DataType] = {"id": pl.String(), "row": pl.Int64(), "kind": pl.Enum(["a", "b"])}


def rows(numbers: range) -> pl.DataFrame:
    keys = [None if number % 7 == 0 else f"k{number % 5}" for number in numbers]
    kinds = ["ab"[number % 2] for number in numbers]
    return pl.DataFrame({"key": keys, "row": numbers, "kind": kinds}, schema=SCHEMA)


def test_all_rows_of_a_key_lie_in_one_part_in_their_order(tmp_path: Path):
    partitions = Partitions(tmp_path / "made", "key", 4)
    for frame in (rows(range(20)), rows(range(20, 21)), pl.DataFrame(schema=SCHEMA), rows(range(21, 60))):
        partitions.add(frame)
    partitions.finish()
    parts = [partitions.read(index, SCHEMA) for index in partitions.indices()]
    assert len(parts) == 4
    assert all(part["row"].is_sorted() for part in parts)
    assert all(dict(part.schema) == SCHEMA for part in parts)
    assert sum(part["key"].n_unique() for part in parts) == 6, "null is a key too"
    assert pl.concat(parts).sort("row").equals(rows(range(60)))


def test_equal_keys_of_two_tables_meet(tmp_path: Path):
    one, other = Partitions(tmp_path / "one", "key", 3), Partitions(tmp_path / "other", "id", 3)
    one.add(rows(range(30)))
    other.add(rows(range(10)).rename({"key": "id"}))
    one.finish()
    other.finish()
    for index in one.indices():
        theirs = other.read(index, OTHER)
        assert set(theirs["id"].drop_nulls()) == set(one.read(index, SCHEMA)["key"].drop_nulls())


def test_a_part_can_be_written_by_its_number(tmp_path: Path):
    partitions = Partitions(tmp_path, "key", 3)
    partitions.write(2, rows(range(3)))
    partitions.write(2, rows(range(3, 5)))
    partitions.finish()
    assert [partitions.read(index, SCHEMA).height for index in partitions.indices()] == [0, 0, 5]
