from pathlib import Path

import polars as pl
import pytest

from flows.monitor import monitor
from flows.retrain import retrain
from recloop.data.tables import read_json, write_parquet
from recloop.ingestion import ingest
from recloop.loop import deployments
from recloop.loop.decision import begin, owner
from recloop.store import Event, Store
from tests.flows.outcomes import artifacts, tasks
from tests.flows.scratch import dvc, runs

UNKNOWN = "Drift is not known: no model has been trained yet."


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

    def test_it_takes_in_feedback_looks_at_drift_and_records_its_decision(self, flowing: Path):
        dvc(flowing, "repro")
        before = runs(flowing)
        fill(flowing, 2)
        state = monitor(return_state=True)
        assert runs(flowing) == [*before, "validate", "drift"]
        assert (flowing / "data/interactions/feedback-1-2.parquet").exists()
        assert state.message == "wait: 2 new events, fewer than 3. Drift: stable."
        with Store.open(root=flowing) as store:
            decision = store.decisions()[0]
        assert (decision.kind, decision.verdict) == ("monitor", "wait")
        assert decision.record["new_events"] == 2
        assert decision.record["drift"] == "stable"
        assert decision.record["drift_report"]["checks"] == {
            "popularity": {"value": 0.31, "threshold": 0.2, "drifted": False}
        }
        assert decision.record["rules"]["min_new_events"] == 3
        assert decision.record["watermark"] == 2
        shown = artifacts(state)
        assert set(shown) == {"ingest", "validation", "drift", "monitor"}
        assert "| new_events | 2 | at least 3 | no |" in shown["monitor"].data
        assert "| clicks | unknown | surely at least 20% lost | no |" in shown["monitor"].data

    def test_a_person_may_ask_for_retraining(self, flowing: Path):
        state = monitor(retrain=True, return_state=True)
        assert state.message == f"retrain: 0 new events, fewer than 3. {UNKNOWN} A person asks for it."

    def test_items_that_the_champion_does_not_know_are_counted(self, flowing: Path):
        dvc(flowing, "repro")
        with Store.open(root=flowing) as store:
            bundle = deployments.promote(flowing, store, reason="first").bundle
        known = pl.DataFrame({"item_id": ["i0", "i7"]})
        write_parquet(known, flowing / "artifacts/bundles" / bundle / "vocabulary.parquet")
        fill(flowing, 2)
        assert monitor(return_state=True).is_completed()
        with Store.open(root=flowing) as store:
            assert store.decisions(kind="monitor")[0].record["inputs"]["unknown_share"] == 0.5

    def test_a_retraining_that_was_cut_short_is_made_up_for(self, flowing: Path):
        params = flowing / "params.yaml"
        params.write_text(params.read_text().replace("{min_new_events: 3}", "{min_new_events: 3, cooldown_hours: 0}"))
        with Store.open(root=flowing) as store:
            begin(store, None, owner(flowing), now=0)
        state = monitor(return_state=True)
        assert (state.message or "").endswith("The last retraining was cut short, so what it was for is not done.")
        assert (state.message or "").startswith("retrain: ")

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

    def test_feedback_stays_new_until_it_is_learned_from(self, flowing: Path):
        dvc(flowing, "repro")
        for count in (2, 3):
            fill(flowing, count)
            state = monitor(return_state=True)
        assert state.message == "retrain: 3 new events, at least 3. Drift: stable."
        assert retrain(return_state=True).is_completed()
        assert monitor(return_state=True).message == "wait: 0 new events, fewer than 3. Drift: stable."

    def test_feedback_that_is_not_valid_ends_the_look(self, flowing: Path):
        dvc(flowing, "repro")
        params = flowing / "params.yaml"
        params.write_text(params.read_text().replace("validate: {}", "validate: {refuse: true}"))
        fill(flowing, 2)
        state = monitor(return_state=True)
        assert state.is_failed()
        assert state.message == "interactions: 'value' must lie between 1 and 5, 2 rows do not; correct them."
        with Store.open(root=flowing) as store:
            assert store.decisions() == []

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
