"""A thread that follows the store."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from recloop.errors import StoreError
from recloop.serving.follow import Follower
from recloop.store import Store
from tests.support.waiting import until


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/s.sqlite"


@pytest.fixture
def follow(url: str) -> Iterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def make(
        look: Callable[[Store], None], seconds: float = 0.01, open_store: Callable[[], Store] | None = None
    ) -> Follower:
        opened = open_store or partial(Store.open, url)
        made.append(Follower(opened, look, seconds=seconds, name="test", meanwhile="It stays as it is"))
        return made[-1]

    yield make
    for follower in made:
        follower.close()


def test_it_looks_again_and_again_from_when_it_is_started_and_at_once_when_woken(follow: Callable[..., Follower]):
    looks: list[Store] = []
    follower = follow(looks.append)
    assert not follower.looked.wait(0.05)
    follower.start()
    follower.start()
    until(lambda: len(looks) > 2)
    assert len({id(store) for store in looks}) == 1, "one connection, one thread"
    rare = list[Store]()
    slow = follow(rare.append, seconds=3600)
    slow.start()
    until(lambda: len(rare) == 1)
    slow.wake()
    until(lambda: len(rare) == 2)


def test_a_store_that_is_away_is_told_once_and_connected_anew(
    follow: Callable[..., Follower], url: str, caplog: pytest.LogCaptureFixture
):
    away, looks, opened = [True], list[Store](), list[Store]()

    def open_store() -> Store:
        if away[0]:
            raise StoreError("The store is away.")
        opened.append(Store.open(url))
        return opened[-1]

    def look(store: Store) -> None:
        if away[0]:
            raise StoreError("The store is away.")
        looks.append(store)

    def told() -> int:
        return caplog.messages.count("It stays as it is: The store is away.")

    with caplog.at_level(logging.ERROR, "bentoml.recloop"):
        follower = follow(look, open_store=open_store)
        follower.start()
        assert follower.looked.wait(10)
        away[0] = False
        until(lambda: looks)
        assert told() == 1
        away[0] = True
        until(lambda: told() == 2)
        away[0] = False
        until(lambda: len(opened) == 2)


def test_another_failure_is_told_and_ends_nothing(follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture):
    looks = 0

    def look(_: Store) -> None:
        nonlocal looks
        looks += 1
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR, "bentoml.recloop"):
        follower = follow(look)
        follower.start()
        until(lambda: looks > 2)
    assert "It stays as it is." in caplog.messages


def test_it_ends_when_closed_and_does_not_begin_again(follow: Callable[..., Follower]):
    looks: list[Store] = []
    follower = follow(looks.append)
    follower.start()
    until(lambda: looks)
    follower.close()
    seen = len(looks)
    follower.start()
    follower.wake()
    assert len(looks) == seen
    unused = follow(looks.append)
    unused.close()
    unused.start()
    assert len(looks) == seen
