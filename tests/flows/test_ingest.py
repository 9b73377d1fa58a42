from pathlib import Path

import pytest

from flows.ingest import SourceName, ingest
from tests.flows.outcomes import artifacts, tasks
from tests.flows.scratch import dvc

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_data_get_a_new_version_and_the_ui_shows_it(flowing: Path):
    state = ingest(return_state=True)
    assert state.is_completed(), state.message
    assert state.message is not None
    assert state.message.startswith("files: 3 interactions; version ")
    assert state.message.endswith(".dir is new.")
    assert dvc(flowing, "status", "data.dvc") == "Data and pipelines are up to date.\n"
    shown = artifacts(state)["ingest"]
    assert "| interactions | 3 |" in shown.data
    assert shown.description == state.message


def test_the_same_data_again_are_no_new_version(flowing: Path):
    ingest(return_state=True)
    version = (flowing / "data.dvc").read_text()
    state = ingest(return_state=True)
    assert state.message is not None
    assert state.message.endswith("is what there was.")
    assert [task.name for task in tasks(state).values()] == ["Cached"]
    assert (flowing / "data.dvc").read_text() == version


def test_the_source_that_was_chosen_is_written_to_the_parameters(flowing: Path):
    params = flowing / "params.yaml"
    params.write_text(params.read_text() + "# the end\n")
    small = "  files: {interactions: incoming/*.csv}\n  synthetic: {users: 40, items: 30}\n"
    params.write_text(params.read_text().replace("  files: {interactions: incoming/*.csv}\n", small))
    state = ingest(source=SourceName("synthetic"), return_state=True)
    assert state.is_completed(), state.message
    assert "  source: synthetic\n" in params.read_text()
    assert params.read_text().endswith("# the end\n")


def test_feedback_adds_to_the_source_and_does_not_replace_it(flowing: Path):
    state = ingest(source=SourceName("feedback"), return_state=True)
    assert state.is_completed(), state.message
    assert "  source: files\n" in (flowing / "params.yaml").read_text()


def test_what_cannot_be_read_is_one_sentence_and_changes_nothing(flowing: Path):
    version = (flowing / "data.dvc").read_text()
    (flowing / "incoming/one.csv").write_text("user_id,timestamp\nu1,1\n")
    state = ingest(source=SourceName("files"), return_state=True)
    assert state.is_failed()
    assert state.message is not None
    assert "has no column 'item_id'" in state.message
    assert artifacts(state)["failure"].data == f"**Nothing was ingested.** {state.message}"
    assert (flowing / "data.dvc").read_text() == version
