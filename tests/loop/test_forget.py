from pathlib import Path

import polars as pl
import pytest

from recloop.columns import INTERACTIONS
from recloop.data import swap
from recloop.data.tables import TIMESTAMP, read_parquet, read_tables, write_parquet
from recloop.errors import DataError
from recloop.loop.forget import bundles_with, erase_rows, without_erased
from recloop.store import Erased
from recloop.store.erasures import digest
from tests.support.bundles import popularity_bundle, world

KEY = b"k" * 32
UNTIL = 50
ANA = digest(KEY, "ana")
ERASED = Erased(seq=1, key=KEY, moments={ANA: UNTIL, digest(KEY, "absent"): 90})
NOBODY = Erased(moments={})


def interactions(*rows: tuple[str, str, int]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}, orient="row")
    event, value = pl.lit("view").alias("event"), pl.lit(1.0, pl.Float32).alias("value")
    return frame.with_columns(pl.col("timestamp").cast(TIMESTAMP), event, value).select(INTERACTIONS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    tables = {
        "interactions/base": interactions(("ana", "i", 1), ("ana", "j", UNTIL), ("ben", "i", 2), ("cy", "j", 3)),
        "interactions/feedback-1-2": interactions(("ana", "k", 3), ("ana", "i", 4)),
        "interactions/feedback-3-4": interactions(("ben", "k", 60), ("ana", "i", UNTIL + 1)),
        "impressions/feedback-1-1": pl.DataFrame(
            {"user_id": ["ana", None, "ben"], "position": [0, 0, 0], "timestamp": [1, 1, 1]}
        ).with_columns(pl.col("timestamp").cast(TIMESTAMP)),
        "users": pl.DataFrame({"user_id": ["ana", "ben"], "age": [33, 44]}),
        "items": pl.DataFrame({"item_id": ["i", "j", "k"]}),
    }
    for name, frame in tables.items():
        write_parquet(frame, folder / f"{name}.parquet")
    return folder


def test_rows_up_to_the_erasure_leave_and_all_others_stay(data: Path, tmp_path: Path) -> None:
    untouched = (data / "interactions" / "feedback-3-4.parquet").stat().st_mtime_ns
    counts = erase_rows(data, tmp_path / "scratch", ERASED)
    assert counts == {ANA: {"interactions": 4, "impressions": 1, "users": 1}}
    rows = read_tables(data).interactions.select("user_id", pl.col("timestamp").dt.epoch("us")).rows()
    assert rows == [("ben", 2), ("cy", 3), ("ana", UNTIL + 1), ("ben", 60)]
    assert read_parquet(data / "impressions" / "feedback-1-1.parquet")["user_id"].to_list() == [None, "ben"]
    assert read_parquet(data / "users.parquet").rows() == [("ben", 44)]
    assert (data / "interactions" / "feedback-3-4.parquet").stat().st_mtime_ns == untouched


def test_a_file_of_one_person_stays_as_an_empty_one(data: Path, tmp_path: Path) -> None:
    path = data / "interactions" / "feedback-1-2.parquet"
    schema = read_parquet(path).schema
    erase_rows(data, tmp_path / "scratch", ERASED)
    assert read_parquet(path).is_empty()
    assert read_parquet(path).schema == schema


def test_again_there_is_nothing_to_do(data: Path, tmp_path: Path) -> None:
    erase_rows(data, tmp_path / "scratch", ERASED)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.parquet")}
    assert erase_rows(data, tmp_path / "scratch", ERASED) == {}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert erase_rows(tmp_path / "missing", tmp_path / "scratch", ERASED) == {}
    assert erase_rows(data, tmp_path / "scratch", NOBODY) == {}


def test_a_kill_on_the_way_leaves_whole_files_and_again_completes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    swap.shutil.copytree(data, whole)
    erase_rows(whole, tmp_path / "scratch", ERASED)
    adopt, calls = swap.adopt, list[Path]()

    def killed(file: Path, target: Path) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(target)
        adopt(file, target)

    monkeypatch.setattr(swap, "adopt", killed)
    with pytest.raises(KeyboardInterrupt):
        erase_rows(data, tmp_path / "scratch", ERASED)
    monkeypatch.undo()
    assert erase_rows(data, tmp_path / "scratch", ERASED) == {ANA: {"impressions": 1, "users": 1}}
    for path in whole.rglob("*.parquet"):
        assert path.read_bytes() == (data / path.relative_to(whole)).read_bytes()


def test_a_damaged_file_is_named(data: Path, tmp_path: Path) -> None:
    (data / "users.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"users\.parquet is not a readable Parquet file"):
        erase_rows(data, tmp_path / "scratch", ERASED)


def test_frames_lose_the_rows_of_erased_people() -> None:
    frame = interactions(("ana", "i", UNTIL), ("ana", "j", UNTIL + 1), ("ben", "i", 1))
    assert without_erased(frame, ERASED).select("user_id", "item_id").rows() == [("ana", "j"), ("ben", "i")]
    assert without_erased(frame, NOBODY).equals(frame)
    assert without_erased(pl.DataFrame({"user_id": ["ana", "ben"]}), ERASED)["user_id"].to_list() == ["ben"]


def test_bundles_that_hold_the_person_are_found(tmp_path: Path) -> None:
    events = world()
    theirs = events.filter(user_id="user-1")["timestamp"].dt.epoch("us")
    first, last = int(theirs.min()), int(theirs.max())  # type: ignore[arg-type]
    popularity_bundle(tmp_path / "artifacts" / "bundle", events)
    popularity_bundle(tmp_path / "artifacts" / "bundles" / "without", events.filter(pl.col("user_id") != "user-1"))
    popularity_bundle(tmp_path / "artifacts" / "bundles" / "with", events.filter(pl.col("user_id") != "user-2"))
    both = [Path("artifacts/bundle"), Path("artifacts/bundles/with")]
    assert bundles_with(tmp_path, "user-1", last) == both
    assert bundles_with(tmp_path, "user-1", first) == both
    assert bundles_with(tmp_path, "user-1", first - 1) == [], "somebody new"
    assert bundles_with(tmp_path, "stranger", last) == []
    assert bundles_with(tmp_path / "elsewhere", "user-1", last) == []
    (tmp_path / "artifacts/bundles/with/histories.safetensors").write_bytes(b"damaged")
    assert bundles_with(tmp_path, "user-1", first - 1) == [Path("artifacts/bundles/with")]
