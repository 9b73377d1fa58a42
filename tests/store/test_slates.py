import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import polars as pl
import pytest

from recloop.errors import RefusedValueError
from recloop.store import Gap, Slate, Store
from recloop.store.slates import PLACES, SCHEMA

FIRST = Slate(
    request_id="r1",
    timestamp=7,
    bundle="aaaa",
    policy="softmax",
    arm="canary",
    worker="w",
    serial=0,
    items=["i9", "ünïcode ☃", "i3"],
    scores=[0.25, -1.5, 0.0],
    propensities=[0.5, None, 1e-9],
    user_id="u1",
    candidates="d1g3st",
    n_candidates=200,
    seed=(1 << 63) - 1,
    took=1 << 33,
    fallback="nobody",
    failed="bb",
)
PLAIN = Slate(
    request_id="r2",
    timestamp=8,
    bundle="aaaa",
    policy="top_n",
    arm="champion",
    worker="w",
    serial=1,
    items=["i9"],
    scores=[2.0],
    propensities=[1.0],
)


def numbered(count: int, worker: str = "w") -> list[Slate]:
    return [replace(FIRST, request_id=f"{worker}-{n}", worker=worker, serial=n, timestamp=n) for n in range(count)]


def slates(store: Store) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=SCHEMA), *store.slates_after(0)])


def places(store: Store) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=PLACES), *store.impressions_after(0)])


def test_stored_slates_come_back_as_they_were(store: Store):
    assert store.add_slates([FIRST]) == 1
    assert store.add_slates([PLAIN]) == 1
    assert slates(store).drop("seq").rows() == [
        ("r1", "u1", 7, "aaaa", "softmax", "canary", "d1g3st", 200, (1 << 63) - 1, 3, 1 << 33, "nobody", "bb", "w", 0),
        ("r2", None, 8, "aaaa", "top_n", "champion", None, None, None, 1, None, None, None, "w", 1),
    ]
    assert places(store).drop("seq").rows() == [
        ("r1", 0, "u1", "i9", 0.25, 0.5, "softmax", "aaaa", "canary", 7),
        ("r1", 1, "u1", "ünïcode ☃", -1.5, None, "softmax", "aaaa", "canary", 7),
        ("r1", 2, "u1", "i3", 0.0, 1e-9, "softmax", "aaaa", "canary", 7),
        ("r2", 0, None, "i9", 2.0, 1.0, "top_n", "aaaa", "champion", 8),
    ]
    assert places(store)["seq"].unique().to_list() == slates(store)["seq"].to_list()


def test_an_interleaved_slate_says_whose_each_place_is(store: Store):
    drafted = replace(FIRST, arm="interleaved", propensities=[None] * 3, bundles=["aaaa", "bb", "aaaa"])
    store.add_slates([drafted])
    assert places(store).select("bundle", "propensity", "arm").rows() == [
        ("aaaa", None, "interleaved"),
        ("bb", None, "interleaved"),
        ("aaaa", None, "interleaved"),
    ]
    assert slates(store)["bundle"].to_list() == ["aaaa"]


def test_a_repeated_request_is_left_as_it_is(store: Store):
    store.add_slates([FIRST])
    other = replace(FIRST, items=["x"], scores=[1.0], propensities=[1.0])
    assert store.add_slates([other, PLAIN, PLAIN]) == 1
    assert store.add_slates([FIRST, PLAIN]) == 0
    assert store.add_slates([]) == 0
    assert slates(store)["request_id"].to_list() == ["r1", "r2"]
    assert places(store)["item_id"].to_list() == ["i9", "ünïcode ☃", "i3", "i9"]


def test_an_empty_slate_is_a_slate(store: Store):
    store.add_slates([replace(PLAIN, items=[], scores=[], propensities=[])])
    assert slates(store).height == 1
    assert list(store.impressions_after(0)) == []


def test_frames_are_bounded_and_hold_whole_slates(store: Store):
    store.add_slates(numbered(3))
    store.add_slates([PLAIN])
    assert [frame.height for frame in store.slates_after(0, limit=3)] == [3, 1]
    frames = list(store.impressions_after(0, limit=2))
    assert [frame.height for frame in frames] == [6, 4]
    assert pl.concat(frames).equals(places(store))
    assert pl.concat(frames).select("seq", "position").is_sorted("seq")
    second = slates(store)["seq"][1]
    assert pl.concat(store.impressions_after(second)).equals(places(store).filter(pl.col("seq") > second))
    assert list(store.slates_after(store.last_slate_seq())) == []


def test_a_refused_value_leaves_the_whole_batch_out(store: Store):
    with pytest.raises(RefusedValueError, match=r"refuses a value .*; correct it and write again\."):
        store.add_slates([PLAIN, replace(FIRST, scores=[1.0, None, 2.0])])  # type: ignore[list-item]
    assert slates(store).is_empty()


def test_gaps_are_what_lies_before_the_last_stored_slate(store: Store):
    whole, broken, late = numbered(3, "whole"), numbered(9, "broken"), numbered(6, "late")
    store.add_slates([*whole, *(broken[n] for n in (0, 1, 4, 7)), *late[4:]])
    assert store.slate_gaps() == [
        Gap(worker="broken", missing=4, stored=4, first=0, last=7),
        Gap(worker="late", missing=4, stored=2, first=4, last=5),
    ]
    assert store.slate_gaps(since=4) == [Gap(worker="broken", missing=2, stored=2, first=4, last=7)]
    assert store.slate_gaps(since=8) == []


def test_a_reader_never_misses_a_slate_that_commits_late(store: Store):
    batches = [numbered(3, f"w{number:03}") for number in range(120)]
    seen: list[str] = []
    with ThreadPoolExecutor(6) as pool:
        written = [pool.submit(store.add_slates, batch) for batch in batches]
        watermark, done = 0, False
        while not done:
            done = all(future.done() for future in written)
            for frame in store.slates_after(watermark, limit=50):
                seen.extend(frame["request_id"])
                watermark = frame["seq"][-1]
    assert len(seen) == len(set(seen)) == 360


def test_writers_of_the_same_slates_do_not_hold_each_other_for_ever(store: Store):
    batch = numbered(200)
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(store.add_slates, [batch, batch[::-1], batch, batch[::-1]]))
    assert sum(added) == slates(store).height == 200


def test_several_hundred_slates_are_one_quick_commit(store: Store):
    batch = [
        replace(slate, items=[f"i{n}" for n in range(10)], scores=[0.5] * 10, propensities=[0.1] * 10)
        for slate in numbered(500)
    ]
    started = time.perf_counter()
    assert store.add_slates(batch) == 500
    assert time.perf_counter() - started < 2, "ten times what it takes on a slow machine"
