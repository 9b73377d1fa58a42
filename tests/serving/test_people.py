import time
from pathlib import Path

import httpx
import pytest

from recloop.data.pseudonyms import Pseudonyms
from recloop.errors import StoreError
from recloop.serving.people import ErasedPeople
from recloop.store import Store
from tests.support.bundles import popularity_bundle, world
from tests.support.service import serve
from tests.support.waiting import until


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.sqlite"


def test_whom_another_process_erased_is_known_within_seconds(url: str) -> None:
    with Store.open(url) as store:
        before = store.erase("ana", "test")
        people = ErasedPeople(lambda: Store.open(url), seconds=0.05)
        assert (people.until("ana"), people.until("ben")) == (before.until, None)
        later = store.erase("ben", "test")
        until(lambda: people.until("ben") == later.until)
        people.close()


def test_whom_this_process_erases_is_known_at_once(url: str) -> None:
    people = ErasedPeople(lambda: Store.open(url), seconds=3600)
    erasure = people.erase("ana", "test")
    assert people.until("ana") == erasure.until
    with Store.open(url) as store:
        assert store.erasures() == [erasure]


def test_without_a_store_everybody_may_have_been_erased(url: str) -> None:
    away = [True]

    def open_store() -> Store:
        if away[0]:
            raise StoreError("The store is away.")
        return Store.open(url)

    people = ErasedPeople(open_store, seconds=0.05)
    assert people.until("ana") == (1 << 63) - 1
    with pytest.raises(StoreError, match="away"):
        people.erase("ana", "test")
    away[0] = False
    until(lambda: people.until("ana") is None)
    people.erase("ana", "test")
    away[0] = True
    assert people.until("ana") is not None
    assert people.until("ben") is None, "the list that was read last counts"
    people.close()


@pytest.mark.integration
def test_the_service_forgets_a_person(tmp_path: Path, url: str) -> None:
    bundle = popularity_bundle(tmp_path / "bundle", world())
    event = {"event_id": "a", "user_id": "user-1", "item_id": "item-1", "event": "click", "timestamp": time.time()}
    other = event | {"event_id": "b", "user_id": "user-2"}
    with serve(bundle, url) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert client.post("/recommend", json={"user_id": "user-1"}).json()["fallback"] is None
        assert client.post("/feedback", json={"events": [event, other]}).json()["accepted"] == 2
        answer = client.post("/forget", json={"user_id": "user-1", "asked_by": "ticket 7"}).raise_for_status().json()
        assert answer["erased"]["events"] == 1
        assert answer["until"].endswith("+00:00")
        assert "'recloop forget'" in answer["remains"]
        assert client.post("/recommend", json={"user_id": "user-1"}).json()["fallback"] == "unknown_user"
        assert client.post("/recommend", json={"user_id": "user-2"}).json()["fallback"] is None
        retried = client.post("/feedback", json={"events": [event, other]}).json()
        assert (retried["accepted"], retried["duplicates"], len(retried["rejected"])) == (0, 1, 1)
        anew = event | {"event_id": "c", "timestamp": time.time()}
        assert client.post("/feedback", json={"events": [anew]}).json()["accepted"] == 1
        assert client.post("/forget", json={}).status_code == 400
    with serve(bundle, url) as address:
        answer = httpx.post(f"{address}/recommend", json={"user_id": "user-1"}, timeout=30).json()
        assert answer["fallback"] == "unknown_user", "a worker that starts later knows it too"
    with Store.open(url) as store:
        assert [erasure.asked_by for erasure in store.erasures()] == ["ticket 7"]


@pytest.mark.integration
def test_the_service_stores_pseudonyms_alone(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Pseudonyms(variable="PEOPLE_KEY", key=b"k" * 32)
    monkeypatch.setenv("PEOPLE_KEY", "k" * 32)
    bundle = popularity_bundle(tmp_path / "bundle", names.in_frame(world()), pseudonyms=names.record())
    event = {"event_id": "a", "user_id": "user-1", "item_id": "item-1", "event": "click", "timestamp": time.time()}
    with serve(bundle, url) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert client.post("/recommend", json={"user_id": "user-1"}).json()["fallback"] is None
        assert client.post("/feedback", json={"events": [event]}).json()["accepted"] == 1
        with Store.open(url) as store:
            until(lambda: bool(list(store.slates_after(0))))
            (events,), (slates,) = store.events_after(0), store.slates_after(0)
        assert events["user_id"].to_list() == slates["user_id"].to_list() == [names.of("user-1")]
        assert client.post("/forget", json={"user_id": "user-1"}).json()["erased"]["events"] == 1
        assert client.post("/recommend", json={"user_id": "user-1"}).json()["fallback"] == "unknown_user"
