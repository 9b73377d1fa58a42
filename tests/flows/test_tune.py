"""The flow `tune` on the real project: what it writes, and what the UI shows of it."""

import csv

import pytest

from flows.tune import TunedModel, tune
from recloop.tuning import FOLDER
from tests.flows.outcomes import artifacts
from tests.support.project import Project, make


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
class TestFlow:
    @pytest.fixture(scope="class")
    def project(self, tmp_path_factory: pytest.TempPathFactory) -> Project:
        project = make(tmp_path_factory.mktemp("tune"))
        project.recloop("ingest")
        return project

    def test_the_best_is_written_and_the_trials_are_shown(self, project: Project, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("RECLOOP_ROOT", str(project.root))
        state = tune(model=TunedModel("ease"), trials=3, return_state=True)
        assert state.is_completed(), state.message
        best = project.params()["train"]["ease"]["regularization"]
        assert state.message == f"best: regularization={best}"
        rows = list(csv.DictReader((project.root / FOLDER / "ease/trials.csv").open()))
        assert len(rows) == 3
        shown = artifacts(state)["tune-ease"]
        assert "history.html" in (shown.description or "")

    def test_a_model_that_cannot_be_tuned_is_one_sentence(self, project: Project, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("RECLOOP_ROOT", str(project.root))
        state = tune(model=TunedModel("popularity"), trials=1, return_state=True)
        assert state.is_failed()
        assert state.message == "popularity declares no parameters to search; tune another model."


def test_the_form_offers_every_model():
    assert {"ease", "sasrec"} <= {str(name) for name in TunedModel}
