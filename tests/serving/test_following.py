"""A running service follows promotions and rollbacks, under load, without a failed request."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from recloop.loop.deployments import promote, rollback
from recloop.loop.traffic import begin_canary
from recloop.store import Store
from tests.support.bundles import popularity_bundle, world
from tests.support.service import serve

pytestmark = pytest.mark.integration
WINDOW = ["1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00"]
SECONDS = 2.0


def test_promotion_and_rollback_are_followed_without_a_failed_request(tmp_path: Path):
    folder, stop, failed = tmp_path / "artifacts/bundle", Event(), list[str]()
    url = f"sqlite:///{tmp_path}/store.sqlite"

    def ask(client: httpx.Client) -> int:
        asked = 0
        while not stop.is_set():
            answer = client.post("/recommend", json={"user_id": f"user-{asked % 37}", "k": 3})
            if answer.status_code != httpx.codes.OK:
                failed.append(answer.text)
            asked += 1
            time.sleep(0.02)
        return asked

    def until_in_charge(client: httpx.Client, bundle: str) -> None:
        begun = time.monotonic()
        while client.get("/model").json()["plan"]["champion"] != bundle:
            assert time.monotonic() - begun < SECONDS, "the service does not follow"
            time.sleep(0.05)

    with Store.open(url) as store:
        popularity_bundle(folder, world(), data={"train_window": WINDOW})
        first = promote(tmp_path, store, reason="First.").bundle
        with (
            serve(None, url, root=tmp_path) as address,
            httpx.Client(base_url=address, timeout=30) as client,
            ThreadPoolExecutor(2) as pool,
        ):
            load = [pool.submit(ask, client) for _ in range(2)]
            try:
                popularity_bundle(folder, world(events=500), data={"train_window": WINDOW})
                second = promote(tmp_path, store, reason="Better.").bundle
                until_in_charge(client, second)
                assert rollback(tmp_path, store, reason="Worse.").bundle == first
                until_in_charge(client, first)
                begin_canary(tmp_path, store, share=0.5, reason="Try it.")
                time.sleep(SECONDS)
                model = client.get("/model").json()
                assert (model["manifest"]["id"], list(model["challengers"])) == (first, [second])
                time.sleep(SECONDS)
            finally:
                stop.set()
            assert all(one.result() > 0 for one in load)
        assert failed == []
        arms = {(row["arm"], row["bundle"]) for frame in store.slates_after(0) for row in frame.iter_rows(named=True)}
        assert arms == {("champion", first), ("champion", second), ("canary", second)}
