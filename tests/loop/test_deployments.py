import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recloop.data.bundles import describe, identify
from recloop.data.tables import read_json, write_json
from recloop.errors import BundleError, StoreError
from recloop.loop import deployments
from recloop.loop.deployments import carry_out, in_charge, promote, rollback, status, why_spent
from recloop.store import Store

WINDOW = ["2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/s.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with Store.open(url, clock=lambda: 1_700_000_000_000_000) as opened:
        yield opened


def package(root: Path, model: str, **record: object) -> str:
    """Write a bundle as the package stage does, with `record` in its manifest; returns its id."""
    folder = root / "artifacts/bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_text(f"weights of {model}")
    (folder / "model.json").write_text(json.dumps({"model": model}))
    files = describe(folder)
    manifest = {"format": 1, "id": identify(files), "model": model, "data": {"train_window": WINDOW}, "files": files}
    write_json(manifest | record, folder / "manifest.json")
    return manifest["id"]


def pointer(root: Path) -> dict[str, object]:
    return read_json(root / "artifacts/champion/champion.json")


def test_a_promoted_bundle_is_kept_recorded_and_pointed_to(tmp_path: Path, store: Store):
    bundle = package(tmp_path, "ease")
    change = promote(tmp_path, store, reason="The gate chose it.")
    assert (change.changed, change.bundle, change.model) == (True, bundle, "ease")
    assert change.message == f"Bundle {bundle} (ease) is in charge now."
    assert pointer(tmp_path) == {"bundle": bundle, "model": "ease", "train_window": WINDOW}
    kept = tmp_path / "artifacts/bundles" / bundle
    assert sorted(path.name for path in kept.iterdir()) == ["manifest.json", "model.json", "weights.safetensors"]
    champion = store.champion()
    assert champion
    assert (champion.action, champion.bundle, champion.reason) == ("promote", bundle, "The gate chose it.")


def test_promoting_the_champion_again_changes_nothing(tmp_path: Path, store: Store):
    bundle = package(tmp_path, "ease")
    promote(tmp_path, store, reason="First.")
    change = promote(tmp_path, store, reason="Second.")
    assert (change.changed, change.message) == (False, f"Bundle {bundle} (ease) is already in charge.")
    assert len(store.deployments()) == 1


def test_rollbacks_go_back_one_promotion_each(tmp_path: Path, store: Store):
    a, b, c = [(package(tmp_path, model), promote(tmp_path, store, reason="New."))[0] for model in ("a", "b", "c")]
    change = rollback(tmp_path, store, reason="Clicks fell.")
    assert (change.bundle, change.message) == (b, f"Bundle {b} (b) is in charge again, instead of {c}.")
    assert pointer(tmp_path)["bundle"] == b
    assert rollback(tmp_path, store, reason="Still.").bundle == a
    with pytest.raises(StoreError, match="There is no earlier bundle to roll back to; promote another one instead"):
        rollback(tmp_path, store, reason="More.")
    assert pointer(tmp_path)["bundle"] == a
    package(tmp_path, "d")
    promote(tmp_path, store, reason="New.")
    assert rollback(tmp_path, store, reason="Again.").bundle == a
    assert [row.action for row in store.deployments()] == ["promote"] * 3 + ["rollback"] * 2 + ["promote", "rollback"]


def test_a_damaged_bundle_is_not_promoted(tmp_path: Path, store: Store):
    good = package(tmp_path, "ease")
    promote(tmp_path, store, reason="New.")
    package(tmp_path, "als")
    (tmp_path / "artifacts/bundle/weights.safetensors").write_text("weights of als!")
    with pytest.raises(BundleError, match=r"'weights\.safetensors' has 15 bytes where the manifest says 14"):
        promote(tmp_path, store, reason="New.")
    assert pointer(tmp_path)["bundle"] == good
    assert len(store.deployments()) == 1


def test_a_damaged_bundle_is_not_rolled_back_to(tmp_path: Path, store: Store):
    first = package(tmp_path, "a")
    promote(tmp_path, store, reason="New.")
    second = package(tmp_path, "b")
    promote(tmp_path, store, reason="New.")
    (tmp_path / "artifacts/bundles" / first / "model.json").unlink()
    with pytest.raises(BundleError, match=r"lacks its file 'model\.json'"):
        rollback(tmp_path, store, reason="Clicks fell.")
    assert pointer(tmp_path)["bundle"] == second
    assert len(store.deployments()) == 2


def test_a_manifest_without_its_model(tmp_path: Path, store: Store):
    package(tmp_path, "a")
    path = tmp_path / "artifacts/bundle/manifest.json"
    write_json({key: value for key, value in read_json(path).items() if key != "data"}, path)
    with pytest.raises(BundleError, match="does not state its model and training window; package it again"):
        promote(tmp_path, store, reason="New.")


def test_a_kept_bundle_that_was_damaged_is_replaced(tmp_path: Path, store: Store):
    bundle = package(tmp_path, "a")
    promote(tmp_path, store, reason="New.")
    kept = tmp_path / "artifacts/bundles" / bundle / "weights.safetensors"
    kept.write_text("nonsense")
    promote(tmp_path, store, reason="Repair.")
    assert kept.read_text() == "weights of a"


@pytest.mark.parametrize("step", ["copy", "row", "pointer"])
def test_a_kill_at_any_step_leaves_a_valid_champion_and_promoting_again_completes(
    tmp_path: Path, store: Store, step: str, monkeypatch: pytest.MonkeyPatch
):
    first = package(tmp_path, "a")
    promote(tmp_path, store, reason="New.")
    second = package(tmp_path, "b")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        target = {"copy": (deployments, "copy"), "row": (store, "deploy"), "pointer": (deployments, "write_json")}[step]
        patch.setattr(*target, killed)
        with pytest.raises(KeyboardInterrupt):
            promote(tmp_path, store, reason="New.")
    (tmp_path / f"artifacts/bundles/.{second}.123.part").mkdir()
    state = status(tmp_path, store)
    assert state["pointer"]["bundle"] == first
    assert state["champion"]["bundle"] == (second if step == "pointer" else first)
    assert state["agree"] == (step != "pointer")
    for name in {state["pointer"]["bundle"], state["champion"]["bundle"]}:
        deployments.verify(tmp_path / "artifacts/bundles" / name)
    assert promote(tmp_path, store, reason="New.").changed == (step != "pointer")
    assert pointer(tmp_path)["bundle"] == second
    assert len(store.deployments()) == 2
    assert sorted(path.name for path in (tmp_path / "artifacts/bundles").iterdir()) == sorted([first, second])


def test_a_rollback_killed_before_its_last_step_is_completed_and_goes_no_further(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    a, b, c = [(package(tmp_path, model), promote(tmp_path, store, reason="New."))[0] for model in ("a", "b", "c")]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deployments, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            rollback(tmp_path, store, reason="Clicks fell.")
    assert (pointer(tmp_path)["bundle"], status(tmp_path, store)["agree"]) == (c, False)
    change = rollback(tmp_path, store, reason="Clicks fell.")
    assert (change.changed, change.bundle) == (False, b)
    assert change.message == f"Bundle {b} (b) is in charge: the interrupted rollback is complete."
    assert (pointer(tmp_path)["bundle"], status(tmp_path, store)["agree"]) == (b, True)
    assert len(store.deployments()) == 4
    assert rollback(tmp_path, store, reason="Still.").bundle == a


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_an_unreadable_pointer_counts_as_none(tmp_path: Path, store: Store, content: str):
    bundle = package(tmp_path, "a")
    promote(tmp_path, store, reason="New.")
    (tmp_path / "artifacts/champion/champion.json").write_text(content)
    state = status(tmp_path, store)
    assert (state["pointer"], state["agree"], state["champion"]["bundle"]) == (None, False, bundle)


def test_status_before_and_after(tmp_path: Path, store: Store):
    assert status(tmp_path, store) == {
        "store": store.url,
        "champion": None,
        "canary": None,
        "shadow": None,
        "chain": {},
        "privacy": None,
        "drift_series": {},
        "pointer": None,
        "agree": True,
        "history": [],
        "events": 0,
        "decision": None,
        "review": None,
    }
    bundle = package(tmp_path, "a")
    promote(tmp_path, store, reason="New.")
    store.decide("gate", "promote", {"winner": "a"})
    state = status(tmp_path, store)
    assert state["champion"] == state["history"][0]
    assert (state["champion"]["bundle"], state["champion"]["timestamp"]) == (bundle, "2023-11-14T22:13:20+00:00")
    assert (state["decision"]["verdict"], state["decision"]["record"]) == ("promote", {"winner": "a"})
    assert json.loads(json.dumps(state)) == state


def test_commands_at_once_follow_each_other(tmp_path: Path, store: Store):
    folders = []
    for model in "abcd":
        package(tmp_path, model)
        folders.append(shutil.copytree(tmp_path / "artifacts/bundle", tmp_path / model))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda folder: promote(tmp_path, store, reason="New.", bundle_folder=folder), folders))
    assert len(store.deployments()) == 4
    assert status(tmp_path, store)["agree"]


def test_the_folder_in_charge_follows_promotions_and_rollbacks(tmp_path: Path, store: Store):
    assert in_charge(tmp_path) == tmp_path / "artifacts/bundle"
    first = package(tmp_path, "ease")
    assert in_charge(tmp_path) == tmp_path / "artifacts/bundle"
    promote(tmp_path, store, reason="First.")
    second = package(tmp_path, "als")
    assert in_charge(tmp_path) == tmp_path / "artifacts/bundles" / first
    promote(tmp_path, store, reason="Second.")
    assert in_charge(tmp_path) == tmp_path / "artifacts/bundles" / second
    rollback(tmp_path, store, reason="Worse.")
    assert in_charge(tmp_path) == tmp_path / "artifacts/bundles" / first


def test_a_decision_may_be_carried_out_until_it_is_undone(tmp_path: Path, store: Store):
    first = package(tmp_path, "ease")
    assert why_spent(tmp_path, store, {"champion": None}) is None
    promote(tmp_path, store, reason="First.")
    assert why_spent(tmp_path, store, {"champion": None}) is None
    second = package(tmp_path, "als")
    against_first = {"champion": {"bundle": first}}
    assert why_spent(tmp_path, store, against_first) is None
    promote(tmp_path, store, reason="Second.")
    rollback(tmp_path, store, reason="Worse.")
    undone = why_spent(tmp_path, store, against_first)
    assert undone is not None
    assert f"bundle {second} was in charge before and was taken back" in undone


def test_a_decision_against_another_champion_may_not_be_carried_out(tmp_path: Path, store: Store):
    first = package(tmp_path, "ease")
    promote(tmp_path, store, reason="First.")
    package(tmp_path, "als")
    said = why_spent(tmp_path, store, {"champion": None})
    assert said is not None
    assert f"bundle {first} is in charge, and it was compared with none" in said


def test_a_decision_is_carried_out_once_and_not_after_a_rollback(tmp_path: Path, store: Store):
    first = package(tmp_path, "ease")
    keep = {"verdict": "keep", "champion": None, "reasons": ["No model beats the baseline."]}
    assert carry_out(tmp_path, store, keep) == f"Bundle {first} (ease) is in charge now."
    second = package(tmp_path, "als")
    keep["champion"] = {"bundle": first}
    assert carry_out(tmp_path, store, keep) == f"Bundle {first} (ease) stays in charge."
    won = {"verdict": "promote", "champion": {"bundle": first}, "reasons": ["als is ahead."]}
    assert carry_out(tmp_path, store, won) == f"Bundle {second} (als) is in charge now, instead of {first}."
    assert carry_out(tmp_path, store, won) == f"Bundle {second} (als) is already in charge."
    rollback(tmp_path, store, reason="Worse.")
    assert "was in charge before and was taken back" in carry_out(tmp_path, store, won)
    assert in_charge(tmp_path) == tmp_path / "artifacts/bundles" / first
    assert [row.reason for row in store.deployments()] == ["No model beats the baseline.", "als is ahead.", "Worse."]
