import json
from pathlib import Path

import polars as pl
import pytest

from benchmarks import memory
from benchmarks.memory import World, make, measure, table

SMALL = World(people=40, items=30, draws=900, shape="a village shop")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make(SMALL, folder)
    return folder


def test_every_item_is_taken_and_no_pair_twice(world: Path) -> None:
    events = pl.read_parquet(world / "events.parquet")
    assert events["item_id"].n_unique() == SMALL.items
    assert events.select("user_id", "item_id").is_unique().all()
    assert pl.read_parquet(world / "items.parquet").height == SMALL.items


@pytest.mark.slow
@pytest.mark.parametrize(("model", "settings"), [("popularity", {}), ("bpr", {"epochs": 1})])
def test_a_process_of_its_own_is_measured_to_its_end(world: Path, model: str, settings: dict[str, object]) -> None:
    record = measure(model, world, settings, seconds=60, longest=60)
    assert record["outcome"] == "trained"
    assert record["peak_mib"] > 50
    assert record["items"] == SMALL.items


@pytest.mark.slow
def test_passes_are_stopped_after_the_seconds_given(world: Path) -> None:
    record = measure("bpr", world, {"epochs": 1_000_000}, seconds=1, longest=60)
    assert record["outcome"] == "training"


@pytest.mark.slow
def test_what_is_refused_says_why(world: Path) -> None:
    (world / "items.parquet").rename(world / "kept.parquet")
    try:
        pl.read_parquet(world / "kept.parquet").drop("title", "categories").write_parquet(world / "items.parquet")
        record = measure("content_tfidf", world, {}, seconds=60, longest=60)
    finally:
        (world / "kept.parquet").replace(world / "items.parquet")
    assert record["outcome"] == "refused"
    assert "content_tfidf needs a column of text" in record["refused"]


def test_the_table_has_a_row_for_each_record() -> None:
    records = {
        "large/als": {"peak_mib": 1200, "seconds": 5.0, "outcome": "trained", "users": 4, "items": 3, "events": 9},
        "large/ease": {"peak_mib": 99_000, "seconds": 5.0, "outcome": "refused", "refused": "ease needs 900 GB."},
    }
    written = table(records)
    assert "| als | trained | 1,200 | 5 |" in written
    assert "| ease | ease needs 900 GB. | 99,000 | 5 |" in written
    assert "Above 24,576 MiB: ease." in written


def test_the_page_is_written_from_the_results() -> None:
    assert memory.TABLE.read_text(encoding="utf-8") == memory.table(
        json.loads(memory.RESULTS.read_text(encoding="utf-8"))
    )
