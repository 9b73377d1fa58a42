"""The newest events of all people, in columns."""

from collections import deque
from threading import Event, Thread

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.serving.asking import Past
from recloop.serving.recent import RecentEvents


def frame(first: int, users: str) -> pl.DataFrame:
    """An event of each of these users, from this `seq` on, at moments equal to it."""
    seqs = range(first, first + len(users))
    return pl.DataFrame(
        {
            "user_id": list(users),
            "item_id": [f"i{seq}" for seq in seqs],
            "seq": list(seqs),
            "timestamp": list(seqs),
            "value": [None if seq % 3 == 0 else seq / 2 for seq in seqs],
        },
        schema_overrides={"value": pl.Float64},
    )


def past(seq: int) -> Past:
    return Past(item_id=f"i{seq}", timestamp=seq, value=1.0 if seq % 3 == 0 else seq / 2)


@settings(deadline=None)
@given(
    capacity=st.integers(1, 12),
    batches=st.lists(st.text("abc", min_size=1, max_size=15), max_size=6),
    seq=st.integers(0, 40),
    limit=st.integers(1, 6),
)
def test_it_holds_the_newest_events_of_everybody(capacity: int, batches: list[str], seq: int, limit: int):
    recent, newest = RecentEvents(capacity), deque[tuple[str, int]](maxlen=capacity)
    first = 1
    for users in batches:
        recent.add(frame(first, users))
        newest.extend((user, first + place) for place, user in enumerate(users))
        first += len(users)
        for user in "abcd":
            expected = [past(number) for who, number in newest if who == user and number > seq]
            assert recent.of(user, seq, limit) == expected[-limit:]


@settings(deadline=None)
@given(users=st.text("abc", min_size=1, max_size=30), capacity=st.integers(1, 40), until=st.integers(0, 40))
def test_what_a_person_did_until_a_moment_is_gone_for_good(users: str, capacity: int, until: int):
    recent, spared = RecentEvents(capacity), RecentEvents(capacity)
    for one in (recent, spared):
        one.add(frame(1, users))
    recent.erase("a", until)
    assert recent.of("a", 0, 99) == [one for one in spared.of("a", 0, 99) if one.timestamp and one.timestamp > until]
    assert recent.of("b", 0, 99) == spared.of("b", 0, 99)
    held = {item for item in recent._items.tolist() if item is not None}  # pyright: ignore[reportPrivateUsage]
    gone = {f"i{number}" for number, user in enumerate(users, 1) if user == "a" and number <= until}
    assert not held & gone
    recent.add(frame(len(users) + 1, "a"))
    assert recent.of("a", len(users), 99) == [past(len(users) + 1)]


def test_people_of_whom_nothing_is_left_are_forgotten():
    recent = RecentEvents(10)
    recent.add(frame(1, "xyz"))
    recent.erase("x", 99)
    assert set(recent._newest) == {"y", "z"}  # pyright: ignore[reportPrivateUsage]
    for first in range(11, 51, 10):
        recent.add(frame(first, "a" * 10))
    assert set(recent._newest) == {"a"}  # pyright: ignore[reportPrivateUsage]


def test_a_reader_never_sees_a_half_written_event():
    recent, done = RecentEvents(50), Event()
    wrong: list[Past] = []

    def look() -> None:
        while not done.is_set():
            wrong.extend(one for user in "ab" for one in recent.of(user, 0, 99) if one != past(int(one.item_id[1:])))

    readers = [Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    draws = np.random.default_rng(0)
    first = 1
    for _ in range(60):
        users = "".join(draws.choice(["a", "b"], size=int(draws.integers(1, 40))))
        recent.add(frame(first, users))
        first += len(users)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert recent.of("a", 0, 99), "there was something to see"


def test_memory_does_not_grow_with_what_comes():
    with pytest.raises(AssertionError):
        RecentEvents(0)
    recent = RecentEvents(1_000)
    for first in range(1, 20_001, 100):
        recent.add(frame(first, "".join(chr(0x4E00 + (first + place) % 5_000) for place in range(100))))
    assert len(recent._newest) <= 2_000  # pyright: ignore[reportPrivateUsage]
