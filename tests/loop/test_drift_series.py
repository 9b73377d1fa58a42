"""What the drift checks said, look by look."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recloop.loop.drift_series import KEY, looks, series, summary
from recloop.store import Store

NOW = 1_700_000_000_000_000
DAY = 86_400_000_000


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite", clock=clock) as opened:
        yield opened


def report(rows: int, *drifted: str, verdict: str | None = None, bundle: str = "b") -> dict[str, Any]:
    """A drift report about so many rows."""
    checks = [
        {"name": name, "column": name, "value": 0.1 * rows, "threshold": 0.3, "drifted": name in drifted}
        for name in ("slates", "volume")
    ]
    found = verdict or ("drift" if drifted else "stable")
    return {
        "verdict": found,
        "bundle": bundle,
        "current": {"to": f"day {rows}", "rows": rows},
        "checks": [] if found == "insufficient" else checks,
    }


def look(store: Store, clock: Clock, found: dict[str, Any] | None) -> None:
    store.decide("monitor", "wait", {KEY: summary(found)})
    clock.now += DAY


def test_a_check_lasts_while_it_is_the_same_one(store: Store, clock: Clock) -> None:
    look(store, clock, report(1, "volume"))
    look(store, clock, report(2, "slates"))
    look(store, clock, report(3, "slates", "volume"))
    assert looks(store, report(4, "slates")) == 3
    assert looks(store, report(4, "volume")) == 2
    assert looks(store, report(4)) == 0
    assert looks(store, None) == 0


def test_a_look_that_could_not_tell_is_passed_over(store: Store, clock: Clock) -> None:
    look(store, clock, report(1, "slates"))
    look(store, clock, report(2, verdict="insufficient"))
    look(store, clock, None)
    assert looks(store, report(3, "slates")) == 2


def test_another_look_at_the_same_data_is_the_same_look(store: Store, clock: Clock) -> None:
    for _ in range(3):
        look(store, clock, report(1, "slates"))
    assert looks(store, report(1, "slates")) == 1
    assert looks(store, report(2, "slates")) == 2
    assert [point["value"] for point in series(store)["slates"]] == [0.1]


def test_looks_at_another_champion_do_not_count(store: Store, clock: Clock) -> None:
    look(store, clock, report(1, "slates"))
    store.deploy("promote", "c", "als", "better")
    look(store, clock, report(2, "slates"))
    assert looks(store, report(3, "slates")) == 2


def test_the_series_of_each_check_oldest_first(store: Store, clock: Clock) -> None:
    store.decide("monitor", "wait", {"drift": "drift"})
    for rows in range(1, 5):
        look(store, clock, report(rows, "volume"))
    found = series(store, limit=2)
    assert list(found) == ["slates", "volume"]
    assert found["volume"] == [
        {"time": "2023-11-16T22:13:20+00:00", "value": pytest.approx(0.3), "threshold": 0.3, "drifted": True},
        {"time": "2023-11-17T22:13:20+00:00", "value": pytest.approx(0.4), "threshold": 0.3, "drifted": True},
    ]
