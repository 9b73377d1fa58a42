import shutil
from pathlib import Path

import pytest

from recloop.errors import BundleError, StoreError
from recloop.loop.deployments import carry_out, note_bento, promote, rollback, status, why_spent
from recloop.loop.traffic import begin_canary, begin_shadow, end
from recloop.store import Store
from tests.loop.test_deployments import package, pointer


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite", clock=lambda: 1_700_000_000_000_000) as opened:
        yield opened


@pytest.fixture
def champion(tmp_path: Path, store: Store) -> str:
    bundle = package(tmp_path, "ease")
    promote(tmp_path, store, reason="First.")
    return bundle


def test_a_canary_is_kept_and_recorded_and_the_champion_stays(tmp_path: Path, store: Store, champion: str):
    bundle = package(tmp_path, "als")
    change = begin_canary(tmp_path, store, share=0.05, reason="Try it.")
    assert (change.changed, change.bundle, change.model) == (True, bundle, "als")
    assert change.message == f"Bundle {bundle} (als) is the canary now, with 5.0% of the users."
    assert (tmp_path / "artifacts/bundles" / bundle / "manifest.json").is_file()
    assert pointer(tmp_path)["bundle"] == champion
    store.decide("monitor", "wait", {"drift": "stable"})
    store.decide("canary", "go on", {})
    note_bento(tmp_path, store, "recloop:first")
    note_bento(tmp_path, store, "recloop:second")
    state = status(tmp_path, store)
    assert state["agree"]
    assert state["champion"]["bundle"] == champion
    assert set(state["chain"]) == {champion, bundle}
    assert state["chain"][champion]["drift"] == "stable"
    assert {name: part["bento"] for name, part in state["chain"].items()} == {champion: None, bundle: "recloop:second"}
    assert (state["chain"][bundle]["model"], state["chain"][bundle]["git_revision"]) == ("als", None)
    again = begin_canary(tmp_path, store, share=0.05, reason="Again.")
    assert (again.changed, len(store.deployments())) == (False, 2)
    assert "is the canary already, with 5.0%" in again.message
    assert begin_canary(tmp_path, store, share=0.5, reason="More.").changed
    canary = store.traffic().canary
    assert canary
    assert (canary.bundle, canary.share) == (bundle, 0.5)


def test_a_killed_command_is_completed_by_the_same_command(
    tmp_path: Path, store: Store, champion: str, monkeypatch: pytest.MonkeyPatch
):
    bundle = package(tmp_path, "als")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "deploy", die)
        with pytest.raises(KeyboardInterrupt):
            begin_canary(tmp_path, store, share=0.05, reason="Try it.")
    assert store.traffic().bundles == {champion}
    assert begin_canary(tmp_path, store, share=0.05, reason="Try it.").changed
    assert store.traffic().bundles == {champion, bundle}


def test_what_cannot_be_a_challenger_is_said(tmp_path: Path, store: Store):
    package(tmp_path, "ease")
    with pytest.raises(StoreError, match=r"no champion to try a challenger against; run 'recloop promote' first"):
        begin_canary(tmp_path, store, share=0.05, reason="Try it.")
    promote(tmp_path, store, reason="First.")
    with pytest.raises(StoreError, match=r"\(ease\) is the champion; package another model"):
        begin_shadow(tmp_path, store, reason="Look.")
    with pytest.raises(StoreError, match=r"is 1\.0, but it must lie between 0 and 1; to have all, promote it"):
        begin_canary(tmp_path, store, share=1.0, reason="All.")
    first = package(tmp_path, "als")
    begin_canary(tmp_path, store, share=0.05, reason="Try it.")
    package(tmp_path, "mf")
    with pytest.raises(StoreError, match=rf"{first} \(als\) is the canary; end it first with 'recloop canary --end'"):
        begin_canary(tmp_path, store, share=0.05, reason="Another.")


def test_a_damaged_challenger_is_not_begun(tmp_path: Path, store: Store, champion: str):
    package(tmp_path, "als")
    (tmp_path / "artifacts/bundle/weights.safetensors").write_text("weights of als!!")
    with pytest.raises(BundleError, match=r"'weights\.safetensors'"):
        begin_shadow(tmp_path, store, reason="Look.")
    assert store.traffic().bundles == {champion}


def test_a_shadow_is_replaced_and_ended(tmp_path: Path, store: Store, champion: str):
    package(tmp_path, "als")
    begin_shadow(tmp_path, store, reason="Look.")
    assert not begin_shadow(tmp_path, store, reason="Look.").changed
    bundle = package(tmp_path, "mf")
    assert begin_shadow(tmp_path, store, reason="Look.").message == f"Bundle {bundle} (mf) is the shadow now."
    assert store.traffic().bundles == {champion, bundle}
    assert end(tmp_path, store, bundle=bundle, reason="Seen.").message == f"Bundle {bundle} (mf) is out of the traffic."
    gone = end(tmp_path, store, bundle=bundle, reason="Seen.")
    assert (gone.changed, gone.message) == (False, f"Bundle {bundle} is neither canary nor shadow.")


def test_rollback_looks_past_challengers(tmp_path: Path, store: Store, champion: str):
    package(tmp_path, "als")
    promote(tmp_path, store, reason="Better.")
    package(tmp_path, "mf")
    begin_canary(tmp_path, store, share=0.05, reason="Try it.")
    begin_shadow(tmp_path, store, reason="Look.", bundle_folder=tmp_path / "artifacts/bundles" / champion)
    assert rollback(tmp_path, store, reason="Clicks fell.").bundle == champion
    current = store.traffic()
    assert (current.canary, current.shadow) == (None, None)
    assert pointer(tmp_path)["bundle"] == champion


def test_a_canary_is_promoted_from_where_it_is_kept(tmp_path: Path, store: Store, champion: str):
    bundle = package(tmp_path, "als")
    begin_canary(tmp_path, store, share=0.05, reason="Try it.")
    shutil.rmtree(tmp_path / "artifacts/bundle")
    promote(tmp_path, store, reason="Better.", bundle_folder=tmp_path / "artifacts/bundles" / bundle)
    assert store.traffic().bundles == {bundle}
    assert rollback(tmp_path, store, reason="Worse.").bundle == champion


def test_a_challenger_that_was_ended_is_not_promoted_by_an_old_decision(tmp_path: Path, store: Store, champion: str):
    bundle = package(tmp_path, "als")
    decision = {"verdict": "promote", "champion": {"bundle": champion}, "reasons": ["Better."]}
    begin_canary(tmp_path, store, share=0.05, reason="Try it.")
    assert why_spent(tmp_path, store, decision) is None
    end(tmp_path, store, bundle=bundle, reason="Worse.")
    spent = carry_out(tmp_path, store, decision)
    assert f"bundle {bundle} was tried in traffic and was ended" in spent
    assert store.traffic().bundles == {champion}
