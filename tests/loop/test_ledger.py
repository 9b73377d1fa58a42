from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recloop.loop import deployments, ledger
from recloop.loop.deployments import promote, rollback, status
from recloop.loop.traffic import begin_canary, begin_shadow
from recloop.store import Store
from tests.loop.test_deployments import package


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/s.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with Store.open(url) as opened:
        yield opened


def cost(epsilon: float, delta: float = 1e-5) -> dict[str, Any]:
    return {
        "unit": "user",
        "epsilon": epsilon,
        "delta": delta,
        "noise_multiplier": 2.0,
        "sample_rate": 0.1,
        "steps": 50,
    }


def test_nothing_private_is_nothing_spent(tmp_path: Path, store: Store) -> None:
    package(tmp_path, "ease")
    promote(tmp_path, store, reason="First.")
    assert ledger.spent(store) is None


def test_what_bundles_cost_adds_up(tmp_path: Path, store: Store) -> None:
    ids = []
    for model, epsilon, delta in [("a", 2.0, 1e-5), ("b", 0.5, 3e-5), ("c", 4.0, 1e-6)]:
        ids.append(package(tmp_path, model, privacy=cost(epsilon, delta)))
        promote(tmp_path, store, reason="Better.")
    spent = status(tmp_path, store)["privacy"]
    assert (spent["unit"], spent["epsilon"], spent["delta"]) == ("user", 6.5, pytest.approx(4.1e-5))
    assert spent["private"][1] == {"bundle": ids[1], **cost(0.5, 3e-5)}
    assert [row["bundle"] for row in spent["private"]] == ids
    assert spent["others"] == []
    assert status(tmp_path, store)["chain"][ids[2]]["privacy"] == cost(4.0, 1e-6)


def test_a_bundle_is_paid_for_once(tmp_path: Path, store: Store) -> None:
    for model in "ab":
        package(tmp_path, model, privacy=cost(2.0))
        promote(tmp_path, store, reason="New.")
        promote(tmp_path, store, reason="Again.")
    rollback(tmp_path, store, reason="Back.")
    spent = ledger.spent(store)
    assert spent
    assert (spent["epsilon"], len(spent["private"])) == (4.0, 2)


def test_challengers_are_let_out_too(tmp_path: Path, store: Store) -> None:
    for model, begin in [("a", promote), ("b", begin_canary), ("c", begin_shadow)]:
        package(tmp_path, model, privacy=cost(1.0))
        begin(tmp_path, store, reason="Try.", **({"share": 0.1} if begin is begin_canary else {}))
    begin_canary(tmp_path, store, share=0.5, reason="More.", bundle_folder=kept(tmp_path, store, "canary"))
    assert (ledger.spent(store) or {})["epsilon"] == 3.0


def kept(root: Path, store: Store, action: str) -> Path:
    bundle = next(row.bundle for row in store.deployments() if row.action == action)
    return root / deployments.BUNDLES / bundle


def test_beside_a_bundle_without_privacy_nothing_bounds_the_sum(tmp_path: Path, store: Store) -> None:
    other = package(tmp_path, "ease")
    promote(tmp_path, store, reason="First.")
    package(tmp_path, "multvae", privacy=cost(2.0, 0.125))
    promote(tmp_path, store, reason="Second.")
    spent = ledger.spent(store)
    assert spent
    assert (spent["epsilon"], spent["delta"], spent["others"]) == (None, 0.125, [other])


def test_a_kill_between_ledger_and_deployment_leaves_one_row(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "a", privacy=cost(2.0))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "deploy", die)
        with pytest.raises(KeyboardInterrupt):
            promote(tmp_path, store, reason="First.")
    assert (ledger.spent(store) or {})["epsilon"] == 2.0, "what may have been let out is paid for first"
    promote(tmp_path, store, reason="First.")
    assert len((ledger.spent(store) or {})["private"]) == 1
