import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.monitor import MonitorConfig, decide, monitor
from recloop.data.tables import read_json
from recloop.ingestion import ingest
from recloop.loop import deployments
from recloop.store import Event, Store
from tests.flows.outcomes import artifacts, tasks
from tests.flows.scratch import dvc, runs

CONFIG = MonitorConfig(min_new_events=1000)
UNKNOWN = "Drift is not known: no model has been trained yet."
DRIFTED = "The newest window has drifted from what the champion was trained on."


@pytest.mark.parametrize(
    ("rules", "new_events", "drift", "verdict", "reasons"),
    [
        ({}, 999, None, "wait", ["999 new events, fewer than 1,000.", UNKNOWN]),
        ({}, 1000, None, "retrain", ["1,000 new events, at least 1,000.", UNKNOWN]),
        ({}, 12, "stable", "wait", ["12 new events, fewer than 1,000.", "Drift: stable."]),
        ({}, 12, "insufficient", "wait", ["12 new events, fewer than 1,000.", "Drift: insufficient."]),
        ({}, 12, "drift", "retrain", ["12 new events, fewer than 1,000.", DRIFTED]),
        (
            {},
            0,
            "drift",
            "alert",
            [
                "0 new events, fewer than 1,000.",
                DRIFTED,
                "There is nothing new to learn from, so retraining would not help.",
            ],
        ),
        ({"on_drift": "alert"}, 12, "drift", "alert", ["12 new events, fewer than 1,000.", DRIFTED]),
        ({"on_drift": "alert"}, 2000, "drift", "retrain", ["2,000 new events, at least 1,000.", DRIFTED]),
        ({"on_drift": "ignore"}, 12, "drift", "wait", ["12 new events, fewer than 1,000.", DRIFTED]),
    ],
)
def test_the_verdict_and_its_reasons(
    rules: dict[str, Any], new_events: int, drift: str | None, verdict: str, reasons: list[str]
):
    assert decide(CONFIG.model_copy(update=rules), new_events, drift) == (verdict, reasons)


def looked_at(folder: Path) -> str:
    return read_json(folder / "artifacts/drift/drift.json")["bundle"]


def fill(folder: Path, count: int) -> None:
    with Store.open(root=folder) as store:
        store.add_events(
            [
                Event(event_id=f"e{n}", user_id="u1", item_id=f"i{n}", event="click", timestamp=1_000_000 + n)
                for n in range(count)
            ]
        )


@pytest.mark.integration
@pytest.mark.slow
class TestFlow:
    def test_before_anything_was_trained_it_waits(self, flowing: Path):
        state = monitor(return_state=True)
        assert state.message == f"wait: 0 new events, fewer than 3. {UNKNOWN}"
        assert runs(flowing) == []

    def test_it_runs_no_stage_but_drift_and_records_its_decision(self, flowing: Path):
        dvc(flowing, "repro")
        shutil.rmtree(flowing / "artifacts/drift")
        fill(flowing, 2)
        state = monitor(return_state=True)
        assert state.message == "wait: 2 new events, fewer than 3. Drift: stable."
        assert (flowing / "artifacts/drift/drift.json").exists()
        with Store.open(root=flowing) as store:
            decision = store.decisions()[0]
        assert (decision.kind, decision.verdict) == ("monitor", "wait")
        assert decision.record["new_events"] == 2
        assert decision.record["drift"] == "stable"
        assert decision.record["rules"] == {"min_new_events": 3, "on_drift": "retrain"}
        assert set(artifacts(state)) == {"drift", "monitor"}

    def test_it_looks_at_the_champion_in_charge_also_after_a_rollback(self, flowing: Path):
        dvc(flowing, "repro")
        with Store.open(root=flowing) as store:
            first = deployments.promote(flowing, store, reason="first").bundle
            (flowing / "data/rows.txt").write_text("other data")
            dvc(flowing, "repro")
            assert looked_at(flowing) == first
            second = deployments.promote(flowing, store, reason="second").bundle
        assert monitor(return_state=True).is_completed()
        assert looked_at(flowing) == second
        with Store.open(root=flowing) as store:
            deployments.rollback(flowing, store, reason="it was worse")
        ran = runs(flowing)
        assert monitor(return_state=True).is_completed()
        assert looked_at(flowing) == first
        assert runs(flowing) == [*ran, "drift"]
        assert tasks(monitor(return_state=True))["drift"].name == "Cached"
        assert dvc(flowing, "status") == "Data and pipelines are up to date.\n"

    def test_a_run_that_failed_half_way_is_named(self, flowing: Path):
        dvc(flowing, "repro")
        shutil.rmtree(flowing / "artifacts/clean")
        (flowing / "data/rows.txt").write_text("data that validation refused")
        state = monitor(return_state=True)
        assert state.is_failed()
        assert state.message is not None
        assert state.message.startswith("Stage drift needs what is not there (")
        assert state.message.endswith("artifacts/clean'); run the flow 'train' if a stage writes it, or restore it.")

    def test_feedback_is_counted_where_ingestion_takes_it_from(self, flowing: Path):
        params = flowing / "params.yaml"
        place = f"  feedback: {{url: 'sqlite:///{flowing}/elsewhere.sqlite'}}\n"
        params.write_text(params.read_text().replace("  source: files\n", f"  source: files\n{place}"))
        fill(flowing, 3)
        state = monitor(return_state=True)
        assert state.message == f"wait: 0 new events, fewer than 3. {UNKNOWN}"
        with Store.open(root=flowing) as store:
            assert store.decisions()[0].verdict == "wait"

    def test_a_store_that_is_not_the_one_of_the_data_is_named(self, flowing: Path):
        fill(flowing, 2)
        (flowing / "data/interactions").mkdir()
        (flowing / "data/interactions/feedback-1-4.parquet").touch()
        state = monitor(return_state=True)
        assert state.is_failed()
        assert state.message == (
            f"The store at sqlite:///{flowing}/recloop.sqlite ends at event 2, but the data already hold its events up "
            f"to 4; connect the store that they came from, or remove {flowing}/data/interactions/feedback-*.parquet."
        )

    def test_events_that_the_data_hold_are_not_new(self, flowing: Path):
        fill(flowing, 4)
        assert ingest({}, flowing, "feedback").rows == {"interactions": 4}
        fill(flowing, 5)
        state = monitor(return_state=True)
        assert state.message == f"wait: 1 new events, fewer than 3. {UNKNOWN}"

    def test_enough_events_ask_for_retraining(self, flowing: Path):
        fill(flowing, 3)
        state = monitor(return_state=True)
        assert state.message == f"retrain: 3 new events, at least 3. {UNKNOWN}"

    def test_a_wrong_rule_is_one_sentence(self, flowing: Path):
        params = flowing / "params.yaml"
        params.write_text(params.read_text().replace("{min_new_events: 3}", "{min_new_events: 0}"))
        state = monitor(return_state=True)
        assert state.is_failed()
        assert state.message == (
            "params.yaml: monitor.min_new_events is 0, but input should be greater than or equal to 1; "
            "correct the value."
        )

    def test_a_store_that_cannot_be_reached_is_one_sentence(self, flowing: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("RECLOOP_DATABASE_URL", "sqlite:////nowhere/at/all.sqlite")
        state = monitor(return_state=True)
        assert state.is_failed()
        assert state.message is not None
        assert state.message.startswith("The store at sqlite:////nowhere/at/all.sqlite cannot be reached")
