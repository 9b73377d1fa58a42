"""The client and the real service, which also goes away and comes back."""

import asyncio
import threading
from pathlib import Path

import polars as pl
import pytest

from recloop.client import AsyncClient, Client, Event, FeedbackResult, NotFoundError, RefusedError, Retries
from recloop.store import Store
from tests.support.bundles import popularity_bundle, world
from tests.support.service import serve

pytestmark = pytest.mark.integration
PATIENT = Retries(tries=400, first=0.05, longest=0.2)


def stored(url: str) -> pl.DataFrame:
    with Store.open(url) as store:
        return pl.concat(list(store.events_after(0)))


def test_every_call_and_an_outage_that_loses_no_event(tmp_path: Path) -> None:
    bundle, store = popularity_bundle(tmp_path / "bundle", world()), f"sqlite:///{tmp_path}/store.sqlite"
    with serve(bundle, store) as url:
        port = int(url.rpartition(":")[2])
        with Client(url) as client:
            assert client.ready()
            slate = client.recommend(user_id="user-1", k=4)
            assert (len(slate.items), slate.fallback) == (4, None)
            assert client.model().manifest["id"] == slate.bundle == client.similar("item-0", k=3).bundle
            with pytest.raises(NotFoundError, match="item_id 'unheard-of' is not in the catalogue"):
                client.similar("unheard-of")
            with pytest.raises(RefusedError, match=r"^k: Input should be less than or equal to 100"):
                client.recommend(k=1000)
            click = Event(user_id="user-1", item_id=slate.items[0].item_id, event="click", request_id=slate.request_id)
            assert client.feedback([click]) == FeedbackResult(accepted=1, duplicates=0, rejected=())
            assert client.feedback([click]) == FeedbackResult(accepted=0, duplicates=1, rejected=())
            assert stored(store).select("event_id", "request_id").row(0) == (click.event_id, slate.request_id)
            assert client.forget("user-1").erased["events"] == 1

        async def ask() -> list[int]:
            async with AsyncClient(url) as client:
                slates = await asyncio.gather(*(client.recommend(k=k) for k in (1, 2, 3)))
                return [len(slate.items) for slate in slates]

        assert asyncio.run(ask()) == [1, 2, 3]

    sent, counted, halfway = list[Event](), list[FeedbackResult](), threading.Event()

    def send() -> None:
        with Client(url, retries=PATIENT, timeout=20) as client:
            for number in range(300):
                sent.append(Event(user_id=f"user-{number % 7}", item_id="item-1", event="view"))
                counted.append(client.feedback(sent[-1:]))
                if number == 100:
                    halfway.set()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert not counted, "nothing can be acknowledged while the service is away"
        with serve(bundle, store, port=port):
            assert halfway.wait(120)
        before = len(counted)
        with serve(bundle, store, port=port):
            sender.join(120)
    finally:
        sender.join(1)
    assert not sender.is_alive()
    assert before < len(counted) == len(sent) == 300
    assert all(result.accepted + result.duplicates == 1 for result in counted)
    assert sorted(stored(store)["event_id"]) == sorted(event.event_id for event in sent)
