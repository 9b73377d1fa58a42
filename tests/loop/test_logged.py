from pathlib import Path

import polars as pl
import pytest

from recloop.columns import IMPRESSIONS
from recloop.data.tables import canonical_interactions, write_parquet
from recloop.errors import DataError
from recloop.loop import logged
from recloop.store.slates import PLACES


def test_slates_are_numbered_across_frames_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logged, "_ROWS", 3)
    for name, requests in (("feedback-1-2", "aabbb"), ("feedback-3-4", "ccd"), ("feedback-5-5", "")):
        frame = pl.DataFrame({"request_id": list(requests)}, schema={"request_id": pl.String})
        rest = {name: pl.lit(None, dtype=PLACES[name]) for name in IMPRESSIONS if name != "request_id"}
        timed = frame.with_columns(**rest).with_columns(pl.lit(7).cast(pl.Datetime("us", "UTC")).alias("timestamp"))
        write_parquet(timed.select(IMPRESSIONS), tmp_path / "impressions" / f"{name}.parquet")
    frames = list(logged.impressions(tmp_path))
    assert [frame.height for frame in frames] == [3, 2, 3]
    assert pl.concat(frames)["seq"].to_list() == [1, 1, 2, 2, 2, 3, 3, 4]
    assert dict(frames[0].schema) == PLACES
    assert frames[0]["timestamp"].to_list() == [7, 7, 7]


def test_a_data_folder_without_impressions_has_none(tmp_path: Path):
    assert list(logged.impressions(tmp_path)) == []
    assert list(logged.events(tmp_path)) == []
    write_parquet(
        canonical_interactions(pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [1]}), "t"),
        tmp_path / "interactions" / "t.parquet",
    )
    assert list(logged.events(tmp_path)) == []


def test_a_damaged_file_of_impressions_is_named(tmp_path: Path):
    (tmp_path / "impressions").mkdir()
    (tmp_path / "impressions" / "feedback-1-2.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"feedback-1-2\.parquet is not a readable Parquet file \(.*\); fetch or write"):
        list(logged.impressions(tmp_path))
