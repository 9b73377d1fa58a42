import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from recloop.store import Added, Erased, Event, Slate, Store
from recloop.store.erasures import digest
from recloop.store.slates import PLACES, SCHEMA

NOW = 1_700_000_000_000_000
ANA = "ana.karenina@example.org"
BEN = "ben"


def event(event_id: str, user_id: str = ANA, timestamp: int = 7, item_id: str = "i") -> Event:
    return Event(event_id=event_id, user_id=user_id, item_id=item_id, event="click", timestamp=timestamp)


def slate(serial: int, user_id: str | None = ANA, timestamp: int = 7) -> Slate:
    return Slate(
        request_id=f"r{serial}",
        timestamp=timestamp,
        bundle="b",
        policy="top_n",
        arm="champion",
        worker="w",
        serial=serial,
        items=["i", "j", "k"],
        scores=[3.0, 2.0, 1.0],
        propensities=[1.0] * 3,
        user_id=user_id,
    )


def stored(store: Store) -> list[tuple[str, str]]:
    return [row for frame in store.events_after(0) for row in frame.select("event_id", "user_id").iter_rows()]


def slates(store: Store) -> list[tuple[str, str | None]]:
    frame = pl.concat([pl.DataFrame(schema=SCHEMA), *store.slates_after(0)])
    return frame.select("request_id", "user_id").rows()


def places(store: Store) -> list[tuple[str, str | None]]:
    frame = pl.concat([pl.DataFrame(schema=PLACES), *store.impressions_after(0)])
    return frame.select("request_id", "user_id").unique().sort("request_id").rows()


def test_a_person_leaves_every_table_and_others_stay(store: Store) -> None:
    store.add_events([event("a"), event("b", BEN), event("c"), event("d", ANA + "x"), event("e")])
    store.add_slates([slate(0), slate(1, BEN), slate(2, None), slate(3)])
    erasure = store.erase(ANA, "the person, by letter")
    assert stored(store) == [("b", BEN), ("d", ANA + "x")]
    assert slates(store) == [("r0", None), ("r1", BEN), ("r2", None), ("r3", None)]
    assert places(store) == [("r1", BEN), ("r2", None)]
    assert dict(erasure.counts) == {"events": 3, "slates": 2, "impressions": 6}
    assert (erasure.place, erasure.asked_by, erasure.timestamp) == ("store", "the person, by letter", NOW)
    assert store.erasures() == [erasure]


def test_erased_slates_do_not_look_lost(store: Store) -> None:
    store.add_slates([slate(0), slate(1, BEN), slate(2)])
    store.erase(ANA, "test")
    assert store.slate_gaps() == []


def test_the_record_holds_a_digest_and_not_the_id(store: Store) -> None:
    erasure = store.erase(ANA, "test")
    key = store.erased().key
    assert len(key) == 32
    assert erasure.digest == hmac.new(key, ANA.encode(), hashlib.sha256).hexdigest()
    assert ANA not in repr(store.erasures())
    assert store.erase(ANA, "test").digest == erasure.digest, "one key a store"


def test_sqlite_files_hold_no_trace(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.sqlite") as store:
        store.add_events([event(f"e{number}") for number in range(50)])
        store.add_slates([slate(number) for number in range(50)])
        store.add_events([event("b", BEN)])
        assert any(ANA.encode() in path.read_bytes() for path in tmp_path.iterdir())
        store.erase(ANA, "test")
        assert not any(ANA.encode() in path.read_bytes() for path in tmp_path.iterdir())
        assert any(BEN.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_the_numbers_of_erased_events_do_not_come_again(store: Store) -> None:
    store.add_events([event("a", BEN), event("b"), event("c")])
    assert store.last_event_seq() == 3
    store.erase(ANA, "test")
    assert store.last_event_seq() == 3
    assert list(store.events_after(1)) == []
    store.add_events([event("d", BEN)])
    assert store.last_event_seq() == 4
    assert stored(store) == [("a", BEN), ("d", BEN)]


def test_a_retry_brings_nothing_back(store: Store) -> None:
    store.add_events([event("a"), event("b", BEN)])
    store.erase(ANA, "test")
    again = [event("a"), event("b", BEN), event("x", timestamp=NOW), event("y", BEN), event("b", BEN, item_id="other")]
    assert store.add_events(again) == Added(accepted=1, duplicates=1, conflicts=[4], erased=[0, 2])
    assert stored(store) == [("b", BEN), ("y", BEN)]
    assert store.add_events([event("a")]) == Added(accepted=0, duplicates=0, conflicts=[], erased=[0])


def test_a_slate_that_waited_arrives_without_its_user(store: Store) -> None:
    store.erase(ANA, "test")
    store.add_slates([slate(0, timestamp=NOW), slate(1, BEN), slate(2, timestamp=NOW + 1)])
    assert slates(store) == [("r0", None), ("r1", BEN), ("r2", ANA)]
    assert places(store) == [("r1", BEN), ("r2", ANA)]
    assert store.slate_gaps() == []


def test_later_events_are_those_of_somebody_new(store: Store) -> None:
    store.add_events([event("a", timestamp=NOW + 50)])
    erasure = store.erase(ANA, "test")
    assert erasure.until == NOW + 50, "an event from a clock that is ahead is erased too"
    assert store.add_events([event("b", timestamp=NOW + 50), event("c", timestamp=NOW + 51)]).erased == [0]
    assert stored(store) == [("c", ANA)]
    erased = store.erased()
    assert (erased.until(ANA), erased.until(BEN)) == (NOW + 50, None)


def test_erasing_nobody_leaves_a_record(store: Store) -> None:
    assert store.erased() == Erased(moments={})
    assert store.erased().until(ANA) is None
    erasure = store.erase("nobody", "test")
    assert dict(erasure.counts) == {"events": 0, "slates": 0, "impressions": 0}


def test_followers_read_only_when_something_came(store: Store) -> None:
    store.erase(ANA, "test")
    known = store.erased()
    assert store.erased(known) is known
    store.erase(BEN, "test")
    assert set(store.erased(known).moments) == {digest(known.key, name) for name in (ANA, BEN)}


def test_what_left_the_data_is_recorded(store: Store) -> None:
    erasure = store.erase(ANA, "test")
    assert erasure.digest is not None
    noted = store.note_erased_data(
        digest=erasure.digest, until=erasure.until, asked_by="test", counts={"interactions": 4}
    )
    assert (noted.place, dict(noted.counts)) == ("data", {"interactions": 4})
    assert store.erasures() == [erasure, noted]
    assert store.last_event_seq() == 0


@pytest.mark.parametrize(("before", "held", "left"), [(8, 3, ["c", "d", "e"]), (8, 9, ["c"]), (7, 9, list("abcde"))])
def test_only_old_events_that_the_data_hold_expire(store: Store, before: int, held: int, left: list[str]) -> None:
    store.add_events([event("a"), event("b", BEN), event("c", timestamp=8), event("d"), event("e", BEN)])
    expired = store.expire(before=before, held=held, asked_by="test")
    assert [event_id for event_id, _ in stored(store)] == left
    assert (expired.place, expired.digest, expired.until) == ("age", None, before)
    assert dict(expired.counts) == {"events": 5 - len(left)}
    assert store.last_event_seq() == 5
    assert store.add_events([replace(event("z"), timestamp=9)]).accepted == 1
    assert store.last_event_seq() == 6
    assert store.erased().moments == {}
