"""A canary that raises at every request: nobody notices, and it is taken back by itself."""

import time
from pathlib import Path

import httpx
import pytest
from safetensors.numpy import load_file, save_file

from recloop import clock
from recloop.data.bundles import describe, identify
from recloop.data.tables import read_json, write_json
from recloop.loop.canary import CanaryConfig, guard
from recloop.loop.deployments import promote
from recloop.loop.guardrails import GuardrailConfig
from recloop.loop.traffic import begin_canary
from recloop.store import Store
from tests.serving.test_following import WINDOW
from tests.serving.test_service import count
from tests.support.bundles import popularity_bundle, world
from tests.support.service import serve

pytestmark = pytest.mark.integration
AT_ONCE = CanaryConfig(guardrails=GuardrailConfig(visit_seconds=0, settle_seconds=0))


def broken(folder: Path) -> None:
    """A bundle that loads, and whose users' histories lie outside its catalogue."""
    popularity_bundle(folder, world(), data={"train_window": WINDOW})
    histories, manifest = folder / "histories.safetensors", read_json(folder / "manifest.json")
    tensors = load_file(histories)
    save_file(tensors | {"items": tensors["items"] + 1_000}, histories)
    files = describe(folder)
    write_json(manifest | {"files": files, "id": identify(files)}, folder / "manifest.json")


def test_a_canary_that_always_raises_is_answered_for_and_taken_back(tmp_path: Path):
    folder, url = tmp_path / "artifacts/bundle", f"sqlite:///{tmp_path}/store.sqlite"
    popularity_bundle(folder, world(), data={"train_window": WINDOW})
    with Store.open(url) as store:
        champion = promote(tmp_path, store, reason="First.").bundle
        broken(folder)
        canary = begin_canary(tmp_path, store, share=0.3, reason="Try it.").bundle
        with serve(None, url, root=tmp_path) as address, httpx.Client(base_url=address, timeout=30) as client:
            assert list(client.get("/model").json()["challengers"]) == [canary]
            answers = [client.post("/recommend", json={"user_id": f"user-{n}", "k": 3}) for n in range(37)]
            assert {answer.status_code for answer in answers} == {200}
            assert {answer.json()["bundle"] for answer in answers} == {champion}
            assert {len(answer.json()["items"]) for answer in answers} == {3}
            failures = count(client, 'recloop_answers_total{arm="canary",outcome="failed"}')
            assert failures > 0
            assert count(client, 'recloop_answers_total{arm="canary",outcome="answered"}') == 0
            until = time.monotonic() + 20
            while store.last_slate_seq() < len(answers):
                assert time.monotonic() < until, "the slates are not logged"
                time.sleep(0.05)
            rows = [row for frame in store.slates_after(0) for row in frame.iter_rows(named=True)]
            assert {(row["arm"], row["bundle"], row["failed"]) for row in rows} == {
                ("champion", champion, None),
                ("canary", champion, canary),
            }
            assert sum(row["failed"] is not None for row in rows) == failures
            assert min(row["took"] for row in rows) > 0
            found = guard(tmp_path, store, AT_ONCE, now=clock.now())
            assert found
            assert "Failed: 100.0% of the canary's requests, 0.0% of the champion's" in found.message
            while client.get("/model").json()["plan"]["canary"] is not None:
                assert time.monotonic() < until, "the service does not follow"
                time.sleep(0.05)
