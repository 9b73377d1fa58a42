import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.validate import main
from recloop.data.tables import canonical_attributes, canonical_interactions, read_json, write_parquet
from recloop.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
PARAMS = "validate: {interactions: {value_bounds: {rating: [1, 5]}}}\n"


def events(number: int, **columns: object) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "user_id": [f"u{n % 5}" for n in range(number)],
            "item_id": [f"i{n}" for n in range(number)],
            "timestamp": [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(number)],
            "value": [1.0 + n % 5 for n in range(number)],
        }
    )
    return canonical_interactions(frame.with_columns(**columns), "events")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_parquet(events(40), tmp_path / "data" / "interactions" / "a.parquet")
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(40)], "title": ["T"] * 40})
    write_parquet(canonical_attributes(items, "item_id", "items"), tmp_path / "data" / "items.parquet")
    (tmp_path / "params.yaml").write_text(PARAMS, encoding="utf-8")
    return tmp_path


def outputs(project: Path) -> dict[str, bytes]:
    folder = project / "artifacts"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_followed_from_slates_is_told(project: Path) -> None:
    told = events(40).with_columns(request_id=pl.Series(["r"] * 3 + [None] * 37))
    write_parquet(told, project / "data" / "interactions" / "a.parquet")
    main()
    prompted = pl.read_parquet(project / "artifacts/clean/prompted.parquet")
    assert prompted.equals(events(40)[:3].select(prompted.columns).sort(prompted.columns))
    assert pl.read_parquet(project / "artifacts/clean/interactions.parquet").equals(events(40))


def test_it_writes_clean_tables_quarantine_report_and_pages(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_parquet(events(42, value=pl.lit(9.0)).tail(2), project / "data" / "interactions" / "b.parquet")
    main()
    assert "42 interactions validated, 2 rows quarantined" in capsys.readouterr().out
    first = outputs(project)
    assert {name for name in first if "data_docs" not in name} == {
        "clean/interactions.parquet",
        "clean/items.parquet",
        "clean/prompted.parquet",
        "quarantine.parquet",
        "validation/history.json",
        "validation/validation.json",
    }
    assert "validation/data_docs/index.html" in first
    assert pl.read_parquet(project / "artifacts/clean/interactions.parquet").equals(events(40))
    assert pl.read_parquet(project / "artifacts/quarantine.parquet")["reason"].to_list() == ["value_out_of_bounds"] * 2
    report = read_json(project / "artifacts/validation/validation.json")
    assert report["rows"] == {"interactions": 42, "items": 40}
    assert report["quarantined_by_reason"] == {"interactions.value_out_of_bounds": 2}

    main()
    assert outputs(project) == first


def test_a_critical_failure_leaves_the_report_and_no_clean_tables(project: Path) -> None:
    main()
    history = (project / "artifacts/validation/history.json").read_bytes()
    write_parquet(events(40, value=pl.lit(7.0)), project / "data" / "interactions" / "a.parquet")
    (project / "data" / "items.parquet").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.validate"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: column 'value' of interactions breaks the rule 'value_out_of_bounds' "
        "(the value of every 'rating' lies between 1 and 5) in 40 of 40 rows"
    )
    assert "Traceback" not in done.stderr
    report = json.loads((project / "artifacts/validation/validation.json").read_text(encoding="utf-8"))
    assert report["success"] is False
    assert (project / "artifacts/validation/data_docs/index.html").is_file()
    assert pl.read_parquet(project / "artifacts/quarantine.parquet").height == 40
    assert not (project / "artifacts/clean").exists()
    assert (project / "artifacts/validation/history.json").read_bytes() == history


def test_volume_is_compared_with_the_version_before(project: Path) -> None:
    main()
    write_parquet(events(10), project / "data" / "interactions" / "a.parquet")
    for _ in range(2):
        main()
        report = read_json(project / "artifacts/validation/validation.json")
        volume = next(one for one in report["checks"] if (one["table"], one["rule"]) == ("interactions", "volume"))
        assert (volume["success"], volume["observed"]) == (False, {"previous": 40, "rows": 10})


def test_a_truncated_file_is_one_sentence(project: Path) -> None:
    path = project / "data" / "interactions" / "a.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.parquet is not a readable Parquet file .* fetch or write it again"):
        main()
    assert not (project / "artifacts").exists()


def test_a_wrong_parameter_is_one_sentence(project: Path) -> None:
    (project / "params.yaml").write_text("validate: {tolerated_share: many}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"params\.yaml: validate\.tolerated_share is 'many', but input should"):
        main()
