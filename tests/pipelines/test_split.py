"""The stage `split`, run as DVC runs it."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from recloop.data.tables import canonical_interactions, read_json, read_parquet, write_parquet

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rows = [(f"u{n % 3}", f"i{n % 7}", datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)) for n in range(40)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    write_parquet(canonical_interactions(frame, "test"), tmp_path / "artifacts" / "clean" / "interactions.parquet")
    return tmp_path


def _stage(project: Path, section: dict[str, object]) -> subprocess.CompletedProcess[str]:
    (project / "params.yaml").write_text(yaml.safe_dump({"split": section}), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pipelines.split"],
        cwd=project,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_parts_and_summary_are_written(project: Path) -> None:
    done = _stage(project, {"min_users": 2, "valid_fraction": 0.1, "test_fraction": 0.2})
    assert done.returncode == 0, done.stderr
    folder = project / "artifacts" / "split"
    heights = {name: read_parquet(folder / f"{name}.parquet").height for name in ("train", "valid", "test")}
    assert heights == {"train": 28, "valid": 4, "test": 8}
    summary = read_json(folder / "split.json")
    assert (summary["strategy"], summary["test_rows"], summary["users"], summary["items"]) == ("temporal", 8, 3, 7)
    assert summary["test_window"] == ["2026-01-02T08:00:00.000000+00:00", "2026-01-02T15:00:00.000000+00:00"]
    assert "28 events to learn from" in done.stdout


def test_equal_input_gives_equal_bytes(project: Path) -> None:
    folder = project / "artifacts" / "split"
    written = []
    for _ in range(2):
        assert _stage(project, {"min_users": 2}).returncode == 0
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]


def test_too_few_users_end_it_with_one_sentence_and_nothing_written(project: Path) -> None:
    done = _stage(project, {"min_users": 4})
    assert done.returncode == 2
    assert done.stderr == (
        "error: The training part of the split has 3 user(s), fewer than split.min_users = 4; "
        "give more data, other fractions, or a lower min_users.\n"
    )
    assert not (project / "artifacts" / "split").exists()


def test_an_unknown_parameter_is_named(project: Path) -> None:
    done = _stage(project, {"test_share": 0.2})
    assert done.returncode == 2
    assert done.stderr.startswith("error: params.yaml: split.test_share is not a known parameter; known ones are: ")
