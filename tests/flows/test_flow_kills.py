"""Flows die at random moments under load; see `benchmarks.flow_kills`, which does the same with real stages."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.flow_kills import RESULTS, RUNNER, Flows, torture
from recloop.loop import deployments
from recloop.store import Store
from tests.flows import scratch
from tests.support.bundles import popularity_bundle, world
from tests.support.prefect_server import ROOT

MOMENTS = {"ingest": 6.0, RUNNER: 8.0}


@pytest.mark.integration
@pytest.mark.slow
def test_flows_that_are_killed_lose_nothing_and_the_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = scratch.make(tmp_path / "project")
    params = root / "params.yaml"
    rules = "min_new_events: 1000000, cooldown_hours: 0}"
    params.write_text(params.read_text().replace("min_new_events: 3}", rules))
    scratch.dvc(root, "repro")
    with Store.open(root=root) as store:
        deployments.promote(root, store, reason="first")
    monkeypatch.setenv("RECLOOP_BUNDLE", str(popularity_bundle(tmp_path / "bundle", world())))
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)
    flows = Flows(root, ROOT)
    try:
        record = torture(root, flows, len(MOMENTS), random.Random(), MOMENTS)
    finally:
        flows.stop()
    assert record["acknowledged"] > 50
    assert record["resumed"] == "done"
    assert record["champion_invalid"] == 0
    assert record["store"] == record["data"] == {"missing": 0, "repeated": 0}
    assert set(record["runs"]) <= {"crashed", "completed"}, record
    assert scratch.dvc(root, "status") == "Data and pipelines are up to date.\n"


def test_the_recorded_kills_lost_and_repeated_nothing() -> None:
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert sum(record["kills"].values()) >= 12
    assert record["acknowledged"] > 1_000
    for place in ("store", "data"):
        assert record[place] == {"missing": 0, "repeated": 0}
    assert record["champion_invalid"] == 0
    assert record["resumed"] == "done"
