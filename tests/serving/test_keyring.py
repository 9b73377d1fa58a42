"""Keys in memory: who holds them, how often they may ask, and what becomes of them."""

import logging
from pathlib import Path

import pytest

from recloop.errors import StoreError
from recloop.serving.keyring import NO_KEYS, Holder, Keyring
from recloop.store import ApiKey, Store
from tests.support.waiting import until


def holder(rate: float | None, burst: int | None) -> Holder:
    key = ApiKey(id="a", digest="d", name="n", scopes=("recommend",), rate=rate, burst=burst, created=0)
    return Holder(key)


def test_a_bucket_holds_a_burst_and_fills_with_time() -> None:
    bucket = holder(rate=2.0, burst=3)
    assert [bucket.take(100.0) for _ in range(3)] == [0.0] * 3
    assert bucket.take(100.0) == pytest.approx(0.5)
    assert bucket.take(100.25) == pytest.approx(0.25), "being refused costs nothing"
    assert bucket.take(100.5) == 0.0
    assert bucket.take(100.5) > 0.0
    assert [bucket.take(1000.0) for _ in range(3)] == [0.0] * 3, "a long pause fills it to the burst and no further"
    assert bucket.take(1000.0) > 0.0


def test_less_than_one_request_a_second() -> None:
    bucket = holder(rate=0.1, burst=1)
    assert bucket.take(50.0) == 0.0
    assert bucket.take(51.0) == pytest.approx(9.0)
    assert bucket.take(60.0) == 0.0


def test_without_a_rate_there_is_no_limit() -> None:
    free = holder(rate=None, burst=None)
    assert {free.take(7.0) for _ in range(1000)} == {0.0}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.sqlite"


def test_keys_that_are_made_and_revoked_while_it_runs(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with Store.open(url) as store, caplog.at_level(logging.ERROR, "bentoml.recloop"):
        ring = Keyring(lambda: Store.open(url), seconds=0.02)
        assert ring.known
        assert caplog.messages == [NO_KEYS]
        key, secret = store.create_key("shop", ["recommend"], rate=1e-6, burst=2)
        _, other = store.create_key("other", ["feedback"])
        found = until(lambda: ring.find(secret.encode()))
        assert (found.id, found.scopes) == (key.id, {"recommend"})
        assert found.take(1.0) == 0.0
        until(lambda: ring.find(other.encode()))
        assert ring.find(secret.encode()) is found, "its bucket lives as long as the key"
        assert ring.find(secret[:-1].encode()) is None
        assert ring.find(key.digest.encode()) is None
        store.revoke_key(key.id)
        until(lambda: ring.find(secret.encode()) is None)
        assert ring.find(other.encode()) is not None
        ring.refused(found, "forget")
        assert [(row.actor, row.action, row.outcome) for row in store.audited(1)] == [(key.id, "forget", "refused")]
        ring.close()


def test_while_the_store_is_away_the_keys_that_were_read_last_count(url: str) -> None:
    away = [True]

    def open_store() -> Store:
        if away[0]:
            raise StoreError("The store is away.")
        return Store.open(url)

    with Store.open(url) as store:
        _, secret = store.create_key("shop", ["recommend"])
    ring = Keyring(open_store, seconds=0.02)
    assert (ring.known, ring.find(secret.encode())) == (False, None)
    away[0] = False
    until(lambda: ring.known)
    away[0] = True
    assert ring.find(secret.encode()) is not None
    ring.close()
