"""Flows against real DVC and a real Prefect server, on the scratch project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import stages
from flows.project import exclusive
from flows.train import train
from recloop.config import load_params
from tests.flows.outcomes import artifacts, tasks
from tests.flows.scratch import dvc, environment, runs

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ORDER = [
    "validate",
    "split",
    "train@popularity",
    "train@ease",
    "evaluate@popularity",
    "evaluate@ease",
    "gate",
    "package",
    "drift",
]
CLEAN = "Data and pipelines are up to date.\n"


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_order_is_read_from_dvc(folder: Path):
    import logging

    with exclusive(logging.getLogger()) as working:
        graph = stages.read_graph(working)
    addresses = [stage.address for stage in graph]
    assert addresses[0] == "data.dvc"
    assert set(addresses) == {"data.dvc", *ORDER}
    for stage in graph:
        assert all(addresses.index(need) < addresses.index(stage.address) for need in stage.needs)
    needs = {stage.address: stage.needs for stage in graph}
    assert needs["validate"] == ("data.dvc",)
    assert needs["evaluate@ease"] == ("train@ease",)
    assert needs["gate"] == ("evaluate@ease", "evaluate@popularity")
    assert {stage.name for stage in graph if "@" in stage.address} == {"train", "evaluate"}
    assert next(stage.description for stage in graph if stage.address == "train@ease") == "One model"


def test_a_run_from_prefect_leaves_dvc_nothing_to_do(flowing: Path):
    state = train(return_state=True)
    assert state.is_completed(), state.message
    assert runs(flowing) == ORDER
    assert dvc(flowing, "status") == CLEAN
    dvc(flowing, "repro")
    assert runs(flowing) == ORDER


def test_a_run_of_dvc_leaves_prefect_nothing_to_do(flowing: Path):
    dvc(flowing, "repro")
    before = runs(flowing)
    state = train(return_state=True)
    assert state.message == "0 stages run, 10 up to date."
    assert runs(flowing) == before
    assert {task.name for task in tasks(state).values()} == {"Cached"}
    assert set(tasks(state)) == {"data.dvc", *ORDER}


def test_changed_data_get_their_version_before_any_stage_reads_them(flowing: Path):
    train(return_state=True)
    before = (flowing / "data.dvc").read_text()
    (flowing / "data/rows.txt").write_text("more rows than before")
    state = train(return_state=True)
    assert state.message == "5 stages run, 5 up to date."
    assert (flowing / "data.dvc").read_text() != before
    assert dvc(flowing, "status") == CLEAN


def test_outputs_come_back_from_the_cache_without_a_run(flowing: Path):
    train(return_state=True)
    before = runs(flowing)
    shutil.rmtree(flowing / "artifacts")
    state = train(return_state=True)
    assert state.is_completed()
    assert runs(flowing) == before
    assert tasks(state)["train@ease"].message == "Outputs restored from the cache of DVC."
    assert dvc(flowing, "status") == CLEAN


def test_what_is_set_in_the_form_is_what_dvc_reads(flowing: Path):
    state = train(models=["als", "ease"], seed=5, split_strategy="leave_last_out", return_state=True)
    assert state.is_completed(), state.message
    params = re.sub(" +#", " #", (flowing / "params.yaml").read_text())
    assert "models: [als, ease] # the field" in params
    assert "seed: 5" in params
    assert "strategy: leave_last_out # or leave_last_out" in params
    assert "train@als" in runs(flowing)
    assert "train@popularity" not in runs(flowing)
    assert dvc(flowing, "status") == CLEAN


def test_how_weights_begin_and_end_is_set_in_the_form(flowing: Path):
    state = train(warm_start="champion", refit="yes", return_state=True)
    assert state.is_completed(), state.message
    training = load_params(flowing / "params.yaml")["train"]
    assert (training["warm_start"], training["refit"]) == ("champion", True)
    state = train(warm_start="fresh values", refit="no", return_state=True)
    assert state.is_completed(), state.message
    training = load_params(flowing / "params.yaml")["train"]
    assert (training["warm_start"], training["refit"]) == (None, False)


def test_epochs_go_to_the_models_that_have_them(flowing: Path):
    state = train(models=["sasrec", "ease"], epochs=3, return_state=True)
    assert state.is_completed(), state.message
    assert "sasrec:\n    epochs: 3" in (flowing / "params.yaml").read_text()


def test_epochs_without_such_a_model_are_refused(flowing: Path):
    before = (flowing / "params.yaml").read_text()
    state = train(epochs=3, return_state=True)
    assert state.is_failed()
    assert state.message == "epochs is set, but none of popularity, ease trains in epochs; leave it empty."
    assert (flowing / "params.yaml").read_text() == before
    assert runs(flowing) == []


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"models": ["ease", "ease"]}, "params.yaml: train.models is ['ease', 'ease'], but must name each model once"),
        ({"test_fraction": 0.95}, "params.yaml: split"),
    ],
)
def test_what_no_stage_would_take_is_not_written(flowing: Path, form: dict[str, Any], sentence: str):
    before = (flowing / "params.yaml").read_text()
    state = train(**form, return_state=True)
    assert state.is_failed()
    assert (state.message or "").startswith(sentence)
    assert (flowing / "params.yaml").read_text() == before
    assert runs(flowing) == []


def test_a_source_that_cannot_be_read_leaves_the_parameters(flowing: Path):
    before = (flowing / "params.yaml").read_text()
    (flowing / "incoming/one.csv").write_text("user_id,timestamp\nu1,1\n")
    state = train(source="files", seed=5, return_state=True)
    assert state.is_failed()
    assert "has no column 'item_id'" in (state.message or "")
    assert (flowing / "params.yaml").read_text() == before
    assert runs(flowing) == []


def test_artifacts_show_what_the_stages_wrote(flowing: Path):
    found = artifacts(train(return_state=True))
    assert set(found) == {"validation", "leaderboard", "gate-decision", "bundle", "drift"}
    assert '"model": "popularity", "ndcg@10": "0.1000"' in found["leaderboard"].data
    assert "# Promote popularity." in found["gate-decision"].data
    assert "- popularity beats popularity on the same users." in found["gate-decision"].data
    assert "- against popularity: 0.01 (95% interval 0.005 to 0.015)" in found["gate-decision"].data
    assert "2 (2 duplicate)" in found["validation"].description
    docs = (flowing / "artifacts/validation/data_docs/index.html").as_uri()
    assert f"`{docs}`" in found["validation"].description
    assert '"check": "popularity"' in found["drift"].data
    assert (flowing / "artifacts/drift/drift.html").as_uri() in found["drift"].description
    assert "| model | popularity |" in found["bundle"].data


def test_the_sentence_of_a_stage_is_the_failure_and_is_not_retried(flowing: Path):
    change(flowing, "validate: {}", "validate: {refuse: true}")
    state = train(return_state=True)
    sentence = "interactions: 'value' must lie between 1 and 5, 2 rows do not; correct them."
    assert state.is_failed()
    assert state.message == sentence
    assert runs(flowing) == ["validate"]
    assert {name: task.name for name, task in tasks(state).items()} == {"data.dvc": "Cached", "validate": "Failed"}
    assert tasks(state)["validate"].message == sentence
    found = artifacts(state)
    assert found["failure"].data == f"**validate failed.** {sentence}"
    assert "user_id u7, value 9.5" in found["validation"].data


def test_a_crash_is_retried_and_its_last_words_are_shown(flowing: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stages._reproduce_stage, "retry_delay_seconds", 0)
    change(flowing, "validate: {}", "validate: {crash: true}")
    state = train(return_state=True)
    assert state.message == ("Stage validate ended with status 1 (RuntimeError: disk on fire); its log says more.")
    assert runs(flowing) == ["validate", "validate"]


def test_a_crash_that_does_not_come_back_does_no_harm(flowing: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stages._reproduce_stage, "retry_delay_seconds", 0)
    change(flowing, "validate: {}", "validate: {crash_once: true}")
    state = train(return_state=True)
    assert state.is_completed(), state.message
    assert runs(flowing)[:3] == ["validate", "validate", "split"]


def test_a_stage_over_its_time_is_ended(flowing: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stages, "TIMEOUT_SECONDS", 3)
    change(flowing, "seconds: 0", "seconds: 30")
    state = train(return_state=True)
    assert state.is_failed()
    assert state.message == "Task run exceeded timeout of 3.0 second(s)"
    monkeypatch.undo()
    assert not (flowing / "artifacts/models/popularity/model.json").exists()
    assert tasks(state)["train@popularity"].name == "TimedOut"


def test_what_a_stage_prints_is_in_the_log(flowing: Path, caplog: pytest.LogCaptureFixture):
    train(return_state=True)
    assert "stage validate  in" in caplog.text
    assert "a word on standard error" in caplog.text


def test_missing_data_are_named_with_the_remedy(flowing: Path):
    shutil.rmtree(flowing / "data")
    state = train(return_state=True)
    assert state.message == (
        "The data of data.dvc are not there; run the flow 'ingest', or 'dvc pull' if they lie in a remote."
    )


def test_a_broken_dvc_yaml_is_one_sentence(flowing: Path):
    (flowing / "dvc.yaml").write_text("stages: [")
    state = train(return_state=True)
    assert state.is_failed()
    assert state.message is not None
    assert state.message.startswith("DVC cannot read the stages (")
    assert "dvc.yaml" in state.message


def test_two_flows_at_once_run_one_after_the_other(flowing: Path):
    change(flowing, "seconds: 0", "seconds: 2")
    code = "from flows.train import train; import sys; sys.exit(not train(return_state=True).is_completed())"
    from prefect.settings import get_current_settings

    env = environment() | get_current_settings().to_environment_variables(exclude_unset=True)
    other = subprocess.Popen([sys.executable, "-c", code], env=env)
    state = train(return_state=True)
    assert state.is_completed(), state.message
    assert other.wait(120) == 0
    assert sorted(runs(flowing)) == sorted(ORDER)


def test_a_flow_waits_for_dvc_repro_from_a_terminal(flowing: Path):
    change(flowing, "seconds: 0", "seconds: 3")
    repro = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "-q"], cwd=flowing, env=environment(), stdout=subprocess.DEVNULL
    )
    while "train@popularity" not in runs(flowing):
        assert repro.poll() is None
    state = train(return_state=True)
    assert state.is_completed(), state.message
    assert repro.wait(60) == 0
    assert dvc(flowing, "status") == CLEAN
