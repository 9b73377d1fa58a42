"""Feedback becomes data and a winner takes over; deploy goes forward and back."""

import json
import logging
import re
from pathlib import Path

import pytest

from flows.deploy import Action, canary_guard, canary_review, deploy
from flows.monitor import monitor
from flows.project import exclusive
from flows.retrain import retrain
from recloop.loop.decision import begin
from recloop.store import Slate, Store
from tests.flows.outcomes import artifacts, tasks
from tests.flows.scratch import dvc, runs
from tests.flows.test_monitor import fill

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def champion(folder: Path) -> str | None:
    with Store.open(root=folder) as store:
        row = store.champion()
    pointer = folder / "artifacts/champion/champion.json"
    named = json.loads(pointer.read_text())["bundle"] if pointer.exists() else None
    assert named == (row.bundle if row else None)
    return named


def open_a_contest(folder: Path, seed: int) -> None:
    """Change what every stage depends on."""
    (folder / "data/rows.txt").write_text("more data" * seed)
    params = folder / "params.yaml"
    params.write_text(re.sub("seed: .*", f"seed: {seed}", params.read_text()))


def test_feedback_reaches_the_data_and_the_winner_takes_over(flowing: Path):
    fill(flowing, 4)
    state = retrain(return_state=True)
    assert state.is_completed(), state.message
    assert (flowing / "data/interactions/feedback-1-4.parquet").exists()
    assert list(tasks(state))[:3] == ["ingest feedback", "data.dvc", "validate"]
    assert list(tasks(state))[-1] == "promote"
    first = champion(flowing)
    assert first == json.loads((flowing / "artifacts/bundle/manifest.json").read_text())["id"]
    assert state.message is not None
    assert state.message.endswith(f"Bundle {first} (popularity) is in charge now.")
    assert "popularity beats popularity" in artifacts(state)["deployment"].data
    assert dvc(flowing, "status") == "Data and pipelines are up to date.\n"

    again = retrain(return_state=True)
    assert again.message is not None
    assert again.message.endswith(f"Bundle {first} (popularity) is already in charge.")


def test_a_decision_is_carried_out_once_and_how_it_went_is_recorded(flowing: Path):
    idle = retrain(only_if_asked=True, return_state=True)
    assert idle.message == "Nothing was done: the last decision to retrain was carried out already."
    assert runs(flowing) == []
    fill(flowing, 3)
    assert (monitor(return_state=True).message or "").startswith("retrain: ")
    script = (flowing / "stage.py").read_text()
    (flowing / "stage.py").write_text("raise SystemExit(3)")
    assert retrain(only_if_asked=True, return_state=True).is_failed()
    (flowing / "stage.py").write_text(script)
    done = retrain(only_if_asked=True, return_state=True)
    assert done.is_completed(), done.message
    ran = runs(flowing)
    assert retrain(only_if_asked=True, return_state=True).message == idle.message
    assert runs(flowing) == ran
    with Store.open(root=flowing) as store:
        rows = store.decisions(kind="retrain")[::-1]
        asked = store.decisions(kind="monitor")[0].seq
    assert [row.verdict for row in rows] == ["begun", "failed", "begun", "done"]
    assert [rows[0].record["answers"], rows[2].record["answers"]] == [asked, asked]
    assert rows[3].record == {"begun": rows[2].seq, "outcome": done.message}


def test_while_another_project_retrains_on_the_store_nothing_is_done(flowing: Path):
    with Store.open(root=flowing) as store:
        begin(store, None, "another project", now=0)
    state = retrain(return_state=True)
    assert state.message == "Nothing was done: another project retrains on this store already."
    assert runs(flowing) == []


def test_without_deploying_the_winner_is_only_packaged(flowing: Path):
    state = retrain(deploy=False, return_state=True)
    assert state.message is not None
    assert state.message.endswith("Gate: promote (popularity beats popularity on the same users.)")
    assert champion(flowing) is None


def test_a_winner_that_the_gate_keeps_out_is_not_deployed(flowing: Path):
    script = flowing / "stage.py"
    script.write_text(script.read_text().replace('"verdict": "promote"', '"verdict": "keep"'))
    state = retrain(return_state=True)
    assert state.is_completed(), state.message
    assert champion(flowing) is None


def test_a_decision_that_was_rolled_back_is_not_carried_out_again(flowing: Path):
    retrain(return_state=True)
    first = champion(flowing)
    open_a_contest(flowing, seed=1)
    retrain(return_state=True)
    second = champion(flowing)
    assert second != first
    deploy(action=Action("rollback"), reason="it was worse", return_state=True)
    state = retrain(return_state=True)
    assert state.is_completed()
    assert (state.message or "").endswith(
        f"The gate has decided nothing new, and its last decision no longer holds: bundle {second} was in charge "
        "before and was taken back; to deploy it all the same, run 'recloop promote' or the flow 'deploy'."
    )
    assert champion(flowing) == first
    open_a_contest(flowing, seed=2)
    retrain(return_state=True)
    assert champion(flowing) not in {first, second}


def test_a_decision_about_another_champion_is_not_carried_out(flowing: Path):
    retrain(return_state=True)
    first = champion(flowing)
    open_a_contest(flowing, seed=1)
    assert retrain(deploy=False, return_state=True).is_completed()
    state = retrain(return_state=True)
    assert (state.message or "").endswith(
        f"bundle {first} is in charge, and it was compared with none; to deploy it all the same, "
        "run 'recloop promote' or the flow 'deploy'."
    )
    assert champion(flowing) == first


def test_what_could_not_be_deployed_is_deployed_by_the_next_run(flowing: Path):
    assert retrain(deploy=False, return_state=True).is_completed()
    assert champion(flowing) is None
    assert retrain(return_state=True).is_completed()
    assert champion(flowing) == json.loads((flowing / "artifacts/bundle/manifest.json").read_text())["id"]


def test_promote_and_back(flowing: Path):
    dvc(flowing, "repro")
    assert deploy(action=Action("promote"), reason="first", return_state=True).is_completed()
    first = champion(flowing)
    (flowing / "data/rows.txt").write_text("other data")
    dvc(flowing, "repro")
    assert deploy(action=Action("promote"), reason="second", return_state=True).is_completed()
    assert champion(flowing) != first
    state = deploy(action=Action("rollback"), reason="it was worse", return_state=True)
    assert state.is_completed(), state.message
    assert champion(flowing) == first
    with Store.open(root=flowing) as store:
        assert [row.reason for row in store.deployments()] == ["first", "second", "it was worse"]


def test_a_canary_is_begun_judged_and_ended(flowing: Path):
    dvc(flowing, "repro")
    assert deploy(action=Action("promote"), reason="first", return_state=True).is_completed()
    first = champion(flowing)
    assert canary_review(return_state=True).message == "There is no canary; begin one with the action canary."
    open_a_contest(flowing, seed=1)
    dvc(flowing, "repro")
    assert deploy(action=Action("canary"), share=0.2, reason="a trial", return_state=True).is_completed()
    with Store.open(root=flowing) as store:
        plan = store.traffic()
        assert plan.canary is not None
        assert (plan.champion.bundle if plan.champion else None, plan.canary.share) == (first, 0.2)
    assert (canary_review(return_state=True).message or "").startswith("The canary goes on. ")
    assert canary_guard(return_state=True).message == "Nothing to take back."
    both = deploy(action=Action("canary"), share=0.2, interleave=True, return_state=True)
    assert "is interleaved with the champion now, with 20.0% of the users." in (both.message or "")
    assert "users prefer the canary" in (canary_review(return_state=True).message or "")
    assert deploy(action=Action("end_canary"), reason="enough", return_state=True).is_completed()
    with Store.open(root=flowing) as store:
        assert store.traffic().canary is None
        assert store.decisions(kind="canary")[0].verdict == "go on"
    assert champion(flowing) == first


def test_a_failing_canary_is_taken_back_while_another_flow_works(flowing: Path):
    dvc(flowing, "repro")
    assert deploy(action=Action("promote"), reason="first", return_state=True).is_completed()
    open_a_contest(flowing, seed=1)
    dvc(flowing, "repro")
    assert deploy(action=Action("canary"), share=0.5, reason="a trial", return_state=True).is_completed()
    with Store.open(root=flowing) as store:
        plan = store.traffic()
        assert plan.champion
        assert plan.canary
        slates = [
            Slate(
                request_id=f"r{n}",
                timestamp=plan.canary.share_since + 20_000_000,
                bundle=plan.champion.bundle,
                policy="top_n",
                arm="canary" if n % 2 else "champion",
                failed=plan.canary.bundle if n % 2 else None,
                took=5_000,
                items=["x"],
                scores=[1.0],
                worker="w",
                serial=n,
            )
            for n in range(60)
        ]
        store.add_slates(slates)
        with exclusive(logging.getLogger()):
            state = canary_guard(return_state=True)
        message, shown = state.message or "", str(artifacts(state)["canary"].data)
        assert "is out of the traffic. Failed: 100.0% of the canary's requests, 0.0% of the champion's" in message
        assert store.traffic().canary is None
    assert "# roll back" in shown
    assert "| failed | 100.00% | 0.00% | 30 / 30 |" in shown


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ("promote", "bundle"),
        ("canary", "bundle"),
        ("end_canary", "There is no canary; begin one with the action canary."),
        ("rollback", "There is no earlier bundle to roll back to"),
        ("build", "artifacts/bundle holds no packaged model; run the flow 'train' first."),
    ],
)
def test_what_cannot_be_deployed_is_one_sentence(flowing: Path, action: str, sentence: str):
    state = deploy(action=Action(action), return_state=True)
    assert state.is_failed()
    assert sentence in (state.message or "")
    assert runs(flowing) == []
    assert champion(flowing) is None
