"""The whole turn on a copy of this checkout with small synthetic data: real DVC, GX, Evidently and BentoML."""

import json
import re
from pathlib import Path

import httpx
import polars as pl
import pytest

from recloop.columns import ITEM, USER
from recloop.turn import service
from tests.support.project import Project, make

pytestmark = [pytest.mark.integration, pytest.mark.slow]
NEW_ITEM = "item-nobody-knew"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one whole run behind it, committed."""
    project = make(tmp_path_factory.mktemp("project"))
    project.recloop("ingest")
    project.recloop("run")
    project.commit("first run")
    return project


@pytest.fixture
def environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of the project, and its folder as the working directory."""
    monkeypatch.setenv("RECLOOP_DATABASE_URL", f"sqlite:///{project.root}/recloop.sqlite")
    monkeypatch.chdir(project.root)


def leaderboard(project: Project) -> pl.DataFrame:
    return pl.read_csv(project.root / "artifacts/gate/leaderboard.csv")


def test_a_second_run_does_nothing(project: Project) -> None:
    assert "Data and pipelines are up to date" in project.dvc("repro").stdout
    assert "up to date" in project.dvc("status").stdout


def test_every_stage_left_its_outputs(project: Project) -> None:
    for name in (
        "clean/interactions.parquet",
        "quarantine.parquet",
        "validation/validation.json",
        "validation/data_docs/index.html",
        "split/split.json",
        "models/ease/weights.safetensors",
        "curves/validation/ease.csv",
        "evaluation/ease/metrics.json",
        "gate/decision.json",
        "gate/leaderboard.csv",
        "bundle/manifest.json",
        "drift/drift.html",
        "drift/drift.json",
    ):
        assert (project.root / "artifacts" / name).is_file(), name


def test_the_learning_model_beats_popularity_in_a_world_with_tastes(project: Project) -> None:
    assert leaderboard(project)["model"].to_list() == ["ease", "popularity"]
    decision = json.loads((project.root / "artifacts/gate/decision.json").read_text())
    assert (decision["verdict"], decision["winner"]) == ("promote", "ease")
    assert decision["reasons"]


def test_metrics_and_plots_are_shown_by_dvc(project: Project) -> None:
    shown = json.loads(project.dvc("metrics", "show", "--json").stdout)
    assert "artifacts/evaluation/ease/metrics.json" in shown[""]["data"]
    assert (project.root / "dvc_plots/index.html").exists() or project.dvc("plots", "show").stdout.strip()
    assert "ease" in (project.root / "dvc_plots/index.html").read_text()


def test_equal_inputs_give_equal_outputs(project: Project) -> None:
    before = (project.root / "artifacts/evaluation/ease/metrics.json").read_bytes()
    weights = (project.root / "artifacts/models/ease/weights.safetensors").read_bytes()
    project.dvc("repro", "--force", "--single-item", "train@ease")
    project.dvc("repro", "--force", "--single-item", "evaluate@ease")
    assert (project.root / "artifacts/models/ease/weights.safetensors").read_bytes() == weights
    assert (project.root / "artifacts/evaluation/ease/metrics.json").read_bytes() == before


def test_a_critical_failure_stops_everything_with_its_sentence(tmp_path: Path) -> None:
    project = make(tmp_path)
    project.recloop("ingest")
    project.change({"validate": {"interactions": {"value_bounds": {"rating": [4, 5]}}}})
    failed = project.recloop("run", check=False)
    assert failed.returncode == 2
    said = r"^error: column 'value' of interactions breaks .* lies between 4 and 5"
    assert re.search(said, failed.stderr, re.MULTILINE), failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "artifacts/split").exists()


def test_an_experiment_with_one_model(project: Project, tmp_path: Path) -> None:
    scratch = make(tmp_path)
    scratch.recloop("ingest")
    scratch.recloop("run")
    scratch.commit("run")
    scratch.dvc("exp", "run", "-S", "train.models=[ease]")
    assert leaderboard(scratch)["model"].to_list() == ["ease"]
    scratch.change(
        {
            "evaluate": {"metrics": ["ndcg@5", "coverage@5"], "k": 5},
            "gate": {"metric": "ndcg@5", "floors": {"at_least": {}}},
        }
    )
    scratch.recloop("run")
    changes = json.loads(scratch.dvc("metrics", "diff", "--json").stdout)
    assert any("ndcg@5" in json.dumps(values) for values in changes.values())


def test_one_command_shows_the_leaderboard_the_decision_and_a_recommendation(project: Project) -> None:
    shown = project.recloop("loop").stdout
    assert "Leaderboard" in shown
    assert "Decision  promote: ease" in shown
    assert "is in charge now" in shown
    assert re.search(r"POST http://127\.0\.0\.1:\d+/recommend", shown)
    assert len(re.findall(r"^ +\d+\.\d{4}  ", shown, flags=re.MULTILINE)) == 5
    for report in ("artifacts/drift/drift.html", "artifacts/validation/data_docs/index.html"):
        assert report in shown
    assert "is already in charge" in project.recloop("loop").stdout


def test_two_turns_bring_feedback_into_the_second_model(project: Project, environment: None) -> None:
    project.recloop("promote", "--reason", "first")
    bundle = project.root / "artifacts/bundle"
    first = json.loads((bundle / "manifest.json").read_text())
    assert NEW_ITEM not in pl.read_parquet(bundle / "vocabulary.parquet")[ITEM].to_list()
    times = pl.read_parquet(project.root / "artifacts/clean/interactions.parquet")["timestamp"]
    before_the_test_window = times.sort()[len(times) // 2]
    popular = pl.read_parquet(bundle / "vocabulary.parquet")[ITEM].to_list()[:3]
    with service(project.root) as running, httpx.Client(base_url=running.url, timeout=30) as client:
        known = pl.read_parquet(bundle / "users.parquet")[USER][0]
        answer = client.post("/recommend", json={"user_id": known, "k": 3}).json()
        assert len(answer["items"]) == 3
        assert client.get("/model").json()["manifest"]["id"] == first["id"]
        events = [
            {
                "event_id": f"e{user}-{item}",
                "user_id": f"new-person-{user}",
                "item_id": item,
                "event": "click",
                "timestamp": before_the_test_window.isoformat(),
                "request_id": answer["request_id"],
            }
            for user in range(40)
            for item in [*popular, NEW_ITEM]
        ]
        added = client.post("/feedback", json={"events": events}).json()
        assert (added["accepted"], added["duplicates"], added["rejected"]) == (160, 0, [])
        assert client.post("/feedback", json={"events": events}).json()["duplicates"] == 160
    ingested = project.recloop("ingest", "--source", "feedback")
    assert "feedback" in ingested.stdout
    assert "unchanged" in project.recloop("ingest", "--source", "feedback").stdout
    project.recloop("run")
    clean = pl.read_parquet(project.root / "artifacts/clean/interactions.parquet")
    assert clean.filter(pl.col(USER).str.starts_with("new-person-")).height == 160
    assert NEW_ITEM in pl.read_parquet(project.root / "artifacts/models/ease/vocabulary.parquet")[ITEM].to_list()
    decision = json.loads((project.root / "artifacts/gate/decision.json").read_text())
    assert decision["champion"]["bundle"] == first["id"]
    second = json.loads((bundle / "manifest.json").read_text())
    if decision["verdict"] == "promote":
        assert second["data"]["hash"] != first["data"]["hash"]
    else:
        assert second["id"] == first["id"]
