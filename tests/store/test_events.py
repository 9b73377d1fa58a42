import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from recloop.store import Added, Event, Store
from recloop.store.events import SCHEMA


def event(event_id: str, **changes: object) -> Event:
    content = {"user_id": "u1", "item_id": "i1", "event": "click", "timestamp": 5} | changes
    return Event(event_id=event_id, **content)  # type: ignore[arg-type]


def everything(store: Store) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=SCHEMA), *store.events_after(0)])


def test_stored_events_come_back_as_they_were(store: Store):
    before_1970 = event("a", timestamp=-1, value=3.5, request_id="r", user_id="ünïcode ☃")
    assert store.add_events([before_1970, event("b")]) == Added(accepted=2, duplicates=0, conflicts=[])
    assert everything(store).drop("seq").rows() == [
        ("a", "ünïcode ☃", "i1", "click", 3.5, "r", -1, 1_700_000_000_000_000),
        ("b", "u1", "i1", "click", None, None, 5, 1_700_000_000_000_000),
    ]


def test_a_repeated_event_is_stored_once(store: Store):
    batch = [event("a", value=0.1), event("b"), event("c")]
    store.add_events(batch[:2])
    assert store.add_events(batch) == Added(accepted=1, duplicates=2, conflicts=[])
    assert everything(store)["event_id"].sort().to_list() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "u2"},
        {"item_id": "i2"},
        {"event": "view"},
        {"timestamp": 6},
        {"value": 1.0},
        {"request_id": "r"},
    ],
)
def test_other_content_under_a_known_id_is_a_conflict(store: Store, change: dict[str, object]):
    store.add_events([event("a"), event("b")])
    assert store.add_events([event("c"), event("b", **change), event("a")]) == Added(
        accepted=1, duplicates=1, conflicts=[1]
    )
    assert everything(store).filter(event_id="b").select(pl.col(*change)).row(0) == (
        getattr(event("b"), next(iter(change))),
    )


def test_the_first_of_a_batch_wins(store: Store):
    batch = [event("a"), event("a"), event("a", item_id="i2"), event("b")]
    assert store.add_events(batch) == Added(accepted=2, duplicates=1, conflicts=[2])


def test_an_empty_batch_is_nothing(store: Store):
    assert store.add_events([]) == Added(accepted=0, duplicates=0, conflicts=[])
    assert store.last_event_seq() == 0
    assert list(store.events_after(0)) == []


def test_large_batches(store: Store):
    batch = [event(f"{number:06}", timestamp=number) for number in range(10_500)]
    assert store.add_events(batch).accepted == 10_500
    assert store.add_events(batch[::-1]).duplicates == 10_500
    assert store.count_events() == 10_500


def test_events_come_in_order_and_in_frames_of_the_given_size(store: Store):
    store.add_events([event(f"{number}") for number in range(7)])
    frames = list(store.events_after(0, limit=3))
    assert [frame.height for frame in frames] == [3, 3, 1]
    seqs = pl.concat(frames)["seq"].to_list()
    assert seqs == sorted(set(seqs))
    assert store.last_event_seq() == seqs[-1]
    assert [frame["seq"].to_list() for frame in store.events_after(seqs[4])] == [seqs[5:]]
    assert list(store.events_after(seqs[-1])) == []
    assert (store.count_events(), store.count_events(after=seqs[4])) == (7, 2)
    assert dict(frames[0].schema) == SCHEMA


def test_a_reading_ends_at_the_events_of_its_start(store: Store):
    store.add_events([event("a"), event("b")])
    reading = store.events_after(0, limit=1)
    first = next(reading)
    store.add_events([event("c")])
    assert [first["event_id"][0], *(frame["event_id"][0] for frame in reading)] == ["a", "b"]


def test_many_writers_at_once_lose_nothing_and_repeat_nothing(store: Store):
    batches = [[event(f"{number}") for number in range(start, start + 40)] for start in range(0, 400, 20)]
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(store.add_events, batches))
    assert sum(each.accepted for each in added) == 420
    assert sum(each.duplicates for each in added) == 380
    assert sorted(map(int, everything(store)["event_id"])) == list(range(420))


def test_a_reader_never_misses_an_event_that_commits_late(store: Store):
    """Readers follow eight writers whose transactions overlap; a plain `seq > watermark` loses rows on PostgreSQL."""
    stop = threading.Event()
    seen: list[str] = []

    def follow() -> None:
        watermark = 0
        while True:
            last_round = stop.is_set()
            for frame in store.events_after(watermark, limit=50):
                seen.extend(frame["event_id"])
                watermark = frame["seq"][-1]
            if last_round:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.add_events([event(f"{number}-{row}") for row in range(3)]), range(300)))
    stop.set()
    reader.join()
    assert len(seen) == 900
    assert len(set(seen)) == 900


@pytest.mark.integration
def test_on_postgresql_a_reader_waits_for_a_writer_under_way(postgres_url: str):
    """The late writer got the lower seq: the reader must not go past it."""
    from recloop.store import order
    from recloop.store.connection import writing
    from recloop.store.events import _insert
    from recloop.store.schema import EVENTS

    with Store.open(postgres_url) as store, ThreadPoolExecutor(1) as pool:
        with writing(store._engine) as late:
            order.announce(late, EVENTS)
            _insert(late, [event("late")], 0)
            store.add_events([event("early")])
            reading = pool.submit(everything, store)
            time.sleep(0.3)
            assert not reading.done()
        assert reading.result(10)["event_id"].to_list() == ["late", "early"]


CRASH = """
import os, sys
from recloop.store import Event, Store
store = Store.open(sys.argv[1])
store.add_events([Event(event_id="kept", user_id="u", item_id="i", event="view", timestamp=1)])
print("acknowledged", flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.integration
def test_an_acknowledged_event_outlives_its_process(url: str):
    done = subprocess.run([sys.executable, "-c", CRASH, url], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert done.stdout == "acknowledged\n"
    with Store.open(url) as store:
        assert everything(store)["event_id"].to_list() == ["kept"]
