"""Histories that go on while a model serves."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event as Event_

import numpy as np
import polars as pl
import pytest

from recloop.errors import StoreError
from recloop.serving.asking import Past
from recloop.serving.bundle import Bundle
from recloop.serving.live import LiveConfig, LiveHistories
from recloop.serving.people import EVER
from recloop.serving.recommender import Recommender
from recloop.store import Event, Store
from tests.support.bundles import packaged, world
from tests.support.waiting import until

MOMENT = 1_700_000_000_000_000
CONFIG = LiveConfig(seconds=0.02, events=3, kept=7)


def event(number: int, user: str = "u", item: str | None = None, moment: int | None = None) -> Event:
    return Event(
        event_id=f"e{number}",
        user_id=user,
        item_id=item or f"i{number}",
        event="click",
        timestamp=MOMENT + number if moment is None else moment,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as opened:
        yield opened


@pytest.fixture
def live(tmp_path: Path, store: Store) -> Iterator[LiveHistories]:
    follower = LiveHistories(partial(Store.open, f"sqlite:///{tmp_path}/s.sqlite"), config=CONFIG)
    yield follower
    follower.close()


def items(live: LiveHistories, user: str = "u", seq: int = 0) -> list[str]:
    return [recent.item_id for recent in live.since(user, seq)]


def test_events_are_followed_from_where_the_oldest_bundle_ends(store: Store, live: LiveHistories):
    store.add_events([event(1), event(2)])
    live.reach([1, 5])
    until(lambda: items(live) == ["i2"])
    store.add_events([event(3)])
    until(lambda: items(live) == ["i2", "i3"])
    assert items(live, seq=2) == ["i3"]
    assert live.since("u", 2) == [Past(item_id="i3", timestamp=MOMENT + 3, value=1.0)]
    live.reach([2])
    assert items(live) == ["i3"]
    live.reach([0])
    until(lambda: items(live) == ["i1", "i2", "i3"])
    live.reach([])
    assert items(live) == []


def test_only_the_newest_events_are_kept_and_of_one_person_fewer_are_given(store: Store, live: LiveHistories):
    live.reach([0])
    store.add_events([event(number) for number in range(5)])
    store.add_events([event(10, "v"), event(11, "w")])
    until(lambda: bool(items(live, "w")))
    assert [items(live, user) for user in "uvw"] == [["i2", "i3", "i4"], ["i10"], ["i11"]]
    store.add_events([event(number, "v") for number in range(12, 16)])
    until(lambda: items(live, "v") == ["i13", "i14", "i15"])
    assert [items(live, user) for user in "uw"] == [["i4"], ["i11"]]


def test_a_worker_that_starts_late_reads_no_more_events_than_it_keeps(
    store: Store, live: LiveHistories, monkeypatch: pytest.MonkeyPatch
):
    store.add_events([event(number) for number in range(10, 30)])
    read, after = list[int](), Store.events_after

    def counted(self: Store, seq: int, limit: int = 100_000) -> Iterator[pl.DataFrame]:
        for frame in after(self, seq, limit):
            read.extend(frame["seq"])
            yield frame

    monkeypatch.setattr(Store, "events_after", counted)
    live.reach([3])
    until(lambda: items(live) == ["i27", "i28", "i29"])
    assert read == list(range(14, 21))


def test_the_version_of_a_person_changes_with_what_is_known_of_them_and_no_other(store: Store, live: LiveHistories):
    live.reach([0])
    store.add_events([event(1), event(2, "v")])
    until(lambda: bool(items(live, "v")))
    before = live.version("u"), live.version("v")
    store.add_events([event(3)])
    until(lambda: len(items(live)) == 2)
    assert (live.version("u") != before[0], live.version("v") != before[1]) == (True, False)
    after = live.version("u")
    live.reach([1])
    assert live.version("u") != after, "from another point on, other events are given"


def test_what_a_person_did_before_they_were_erased_is_dropped(store: Store, tmp_path: Path):
    erased: dict[str, int] = {}
    live = LiveHistories(partial(Store.open, f"sqlite:///{tmp_path}/s.sqlite"), erased.get, CONFIG)
    live.reach([0])
    store.add_events([event(1), event(2)])
    until(lambda: items(live) == ["i1", "i2"])
    erased["u"] = MOMENT + 1
    assert items(live) == ["i2"]
    erased.clear()
    assert items(live) == ["i2"]
    live.close()


def test_while_it_is_not_known_who_was_erased_nothing_is_given_and_nothing_lost(store: Store, tmp_path: Path):
    erased: dict[str, int] = {"u": EVER}
    live = LiveHistories(partial(Store.open, f"sqlite:///{tmp_path}/s.sqlite"), erased.get, CONFIG)
    live.reach([0])
    store.add_events([event(1), event(2, "v")])
    until(lambda: items(live, "v") == ["i2"])
    assert items(live) == []
    erased.clear()
    assert items(live) == ["i1"]
    live.close()


def test_nobody_waits_for_a_store_that_hangs(store: Store, tmp_path: Path):
    reading, going_on = Event_(), Event_()

    def open_store() -> Store:
        opened = Store.open(f"sqlite:///{tmp_path}/s.sqlite")
        read = opened.events_after

        def slowly(seq: int, limit: int = 100_000) -> Iterator[pl.DataFrame]:
            reading.set()
            going_on.wait(10)
            return read(seq, limit)

        opened.events_after = slowly
        return opened

    store.add_events([event(1)])
    live = LiveHistories(open_store, {"u": MOMENT}.get, CONFIG)
    live.reach([0])
    assert reading.wait(10)
    begun = time.monotonic()
    assert items(live) == []
    live.reach([0])
    assert time.monotonic() - begun < 5
    going_on.set()
    until(lambda: items(live) == ["i1"])
    live.close()


def test_while_the_store_is_away_it_answers_from_memory_and_then_goes_on(tmp_path: Path, store: Store):
    away = False

    def open_store() -> Store:
        if away:
            raise StoreError("The store is away.")
        opened = Store.open(f"sqlite:///{tmp_path}/s.sqlite")
        connections.append(opened)
        return opened

    connections: list[Store] = []
    live = LiveHistories(open_store, config=CONFIG)
    live.reach([0])
    store.add_events([event(1)])
    until(lambda: items(live) == ["i1"])
    away = True

    def fail(*_: object) -> None:
        raise StoreError("The store is away.")

    connections[-1].events_after = fail  # pyright: ignore[reportAttributeAccessIssue]
    store.add_events([event(2)])
    time.sleep(0.1)
    assert items(live) == ["i1"]
    away = False
    until(lambda: items(live) == ["i1", "i2"])
    live.close()


class Told:
    """What everybody did later."""

    def __init__(self, events: list[Past]) -> None:
        self.events = events

    def since(self, user_id: str, seq: int) -> list[Past]:
        del user_id, seq
        return self.events

    def version(self, user_id: str) -> int:
        del user_id
        return len(self.events)


class TestRecommender:
    @pytest.fixture(scope="class")
    def bundle(self, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
        folder = tmp_path_factory.mktemp("bundle")
        return Bundle.load(packaged(folder / "bundle", "ease", world(events=300), data={"feedback": 7}))

    def recent(self, bundle: Bundle, count: int) -> list[Past]:
        row = bundle.users.index("user-1")
        past = bundle.histories.take(np.array([row]))
        seen = set(past.items.tolist())
        new = [index for index in range(len(bundle.vocabulary)) if index not in seen][:count]
        newest = int(past.timestamps.max())
        ids = bundle.vocabulary.decode(new)
        return [Past(item_id=item, timestamp=newest + n) for n, item in enumerate(ids)]

    def test_what_a_known_user_did_since_goes_on_their_history(self, bundle: Bundle):
        since = self.recent(bundle, 2)
        asked: list[tuple[str, int]] = []

        class Asked(Told):
            def since(self, user_id: str, seq: int) -> list[Past]:
                asked.append((user_id, seq))
                return super().since(user_id, seq)

        answer = Recommender(bundle, live=Asked(since)).recommend(user_id="user-1", k=20)
        assert asked[0] == ("user-1", 7)
        past = bundle.histories.take(np.array([bundle.users.index("user-1")]))
        whole = [
            Past(item_id=item, timestamp=int(moment), value=float(value))
            for item, moment, value in zip(
                bundle.vocabulary.decode(past.items), past.timestamps, past.values, strict=True
            )
        ]
        same = Recommender(bundle).recommend(history=[*whole, *since], k=20)
        assert [one.item_id for one in answer.items] == [one.item_id for one in same.items]
        assert answer.items != Recommender(bundle).recommend(user_id="user-1", k=20).items
        assert not {one.item_id for one in since} & {one.item_id for one in answer.items}

    def test_somebody_new_is_no_stranger_once_they_have_acted(self, bundle: Bundle):
        since = self.recent(bundle, 2)
        answer = Recommender(bundle, live=Told(since)).recommend(user_id="new", k=5)
        assert answer.fallback is None
        assert answer.items == Recommender(bundle).recommend(history=since, k=5).items

    def test_somebody_new_whose_items_are_not_in_the_catalogue(self, bundle: Bundle):
        since = [Past(item_id="nowhere", timestamp=MOMENT)]
        answer = Recommender(bundle, live=Told(since)).recommend(user_id="new", k=5)
        assert (answer.fallback, answer.ignored) == ("empty_history", 1)

    def test_a_given_history_counts_instead(self, bundle: Bundle):
        since = self.recent(bundle, 2)
        given = [Past(item_id=bundle.vocabulary.decode([0])[0])]
        answer = Recommender(bundle, live=Told(since)).recommend(user_id="user-1", history=given, k=5)
        assert answer.items == Recommender(bundle).recommend(user_id="user-1", history=given, k=5).items

    def test_a_bundle_that_does_not_say_where_its_histories_end_stays_as_it_is(self, tmp_path: Path):
        bundle = Bundle.load(packaged(tmp_path / "bundle", "ease", world(events=300)))
        since = self.recent(bundle, 2)
        answer = Recommender(bundle, live=Told(since)).recommend(user_id="user-1", k=5)
        assert answer.items == Recommender(bundle).recommend(user_id="user-1", k=5).items
