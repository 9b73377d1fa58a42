from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.loop.decision import (
    DONE,
    LEASE,
    ClickRates,
    Flight,
    Inputs,
    MonitorConfig,
    age_days,
    begin,
    decide,
    end,
    last_flight,
    open_request,
    owner,
)
from recloop.store import Store

HOUR = 3_600_000_000
NOW = 1_700_000_000_000_000
UNKNOWN = "Drift is not known: no model has been trained yet."
DRIFTED = "The newest window has drifted from what the champion was trained on."
FEW = "12 new events, fewer than 1,000."
LOST_CLICKS = ClickRates(before=0.2, lately=0.1, loss=0.5, surely=0.3)
FEWER_CLICKS = (
    "10.0% of what the champion shows is acted on, 20.0% at the same places when it was new: 50% lost, surely 30%."
)


def flight(state: str, hours_ago: float) -> Flight:
    return Flight(seq=7, begun=NOW - round(hours_ago * HOUR), state=state, answers=None)


@pytest.mark.parametrize(
    ("rules", "inputs", "last", "verdict", "reasons"),
    [
        ({}, {"new_events": 999}, None, "wait", ["999 new events, fewer than 1,000.", UNKNOWN]),
        ({}, {"new_events": 1000}, None, "retrain", ["1,000 new events, at least 1,000.", UNKNOWN]),
        ({}, {"drift": "insufficient"}, None, "wait", [FEW, "Drift: insufficient."]),
        ({}, {"drift": "drift", "drift_looks": 1}, None, "retrain", [FEW, DRIFTED]),
        (
            {"drift_looks": 3},
            {"drift": "drift", "drift_looks": 2},
            None,
            "wait",
            [FEW, f"{DRIFTED} Looks in a row: 2, of 3 wanted."],
        ),
        (
            {},
            {"new_events": 0, "drift": "drift", "drift_looks": 1},
            None,
            "alert",
            [
                "0 new events, fewer than 1,000.",
                DRIFTED,
                "There is nothing new to learn from, so retraining would not help.",
            ],
        ),
        ({"on_drift": "alert"}, {"drift": "drift", "drift_looks": 1}, None, "alert", [FEW, DRIFTED]),
        ({"on_drift": "ignore"}, {"drift": "drift", "drift_looks": 1}, None, "wait", [FEW, DRIFTED]),
        (
            {"max_age_days": 30},
            {"age_days": 31.25, "drift": "stable"},
            None,
            "retrain",
            [FEW, "Drift: stable.", "The champion is 31.2 days old, above 30.0 days."],
        ),
        ({"max_age_days": 30}, {"age_days": None}, None, "wait", [FEW, UNKNOWN]),
        (
            {},
            {"new_events": 500, "unknown_share": 0.25},
            None,
            "retrain",
            [
                "500 new events, fewer than 1,000.",
                UNKNOWN,
                "25% of the new events are about items that the champion does not know.",
            ],
        ),
        ({}, {"new_events": 100, "unknown_share": 0.9}, None, "wait", ["100 new events, fewer than 1,000.", UNKNOWN]),
        (
            {},
            {"clicks": LOST_CLICKS},
            None,
            "retrain",
            [
                FEW,
                UNKNOWN,
                FEWER_CLICKS,
            ],
        ),
        ({"max_click_loss": 0.4}, {"clicks": LOST_CLICKS}, None, "wait", [FEW, UNKNOWN]),
        (
            {"cooldown_hours": 2},
            {"new_events": 5000},
            flight("done", 1.5),
            "wait",
            [
                "5,000 new events, at least 1,000.",
                UNKNOWN,
                "The last retraining began 1.5 hours ago, within the 2 of rest.",
            ],
        ),
        (
            {"cooldown_hours": 1},
            {"new_events": 5000},
            flight("failed", 1.5),
            "retrain",
            [
                "5,000 new events, at least 1,000.",
                UNKNOWN,
                "The last retraining failed, so what it was for is not done.",
            ],
        ),
        (
            {},
            {"new_events": 0},
            flight("failed", 1.5),
            "retrain",
            [
                "0 new events, fewer than 1,000.",
                UNKNOWN,
                "The last retraining failed, so what it was for is not done.",
            ],
        ),
        (
            {},
            {"asked_by": "A person"},
            flight("begun", 0.5),
            "wait",
            [FEW, UNKNOWN, "A retraining is under way, and one at a time is enough."],
        ),
        ({}, {"asked_by": "A person"}, flight("done", 0.1), "retrain", [FEW, UNKNOWN, "A person asks for it."]),
        (
            {},
            {},
            flight("lost", 1.5),
            "retrain",
            [FEW, UNKNOWN, "The last retraining was cut short, so what it was for is not done."],
        ),
        (
            {},
            {"new_events": 0},
            flight("lost", 0.5),
            "wait",
            [
                "0 new events, fewer than 1,000.",
                UNKNOWN,
                "The last retraining was cut short, so what it was for is not done.",
                "The last retraining began 0.5 hours ago, within the 1 of rest.",
            ],
        ),
    ],
)
def test_the_verdict_and_its_reasons(
    rules: dict[str, Any], inputs: dict[str, Any], last: Flight | None, verdict: str, reasons: list[str]
) -> None:
    found = Inputs(**(dict[str, Any](new_events=12, watermark=3) | inputs))
    outcome = decide(found, MonitorConfig(**rules), now=NOW, flight=last)
    assert (outcome.verdict, outcome.reasons) == (verdict, reasons)
    record = outcome.record()
    assert (record["watermark"], record["new_events"]) == (3, found.new_events)
    assert record["rules"]["cooldown_hours"] == MonitorConfig(**rules).cooldown_hours
    assert [trigger["name"] for trigger in record["triggers"]] == [
        "new_events",
        "drift",
        "age",
        "unknown_items",
        "clicks",
    ]


INPUTS = st.builds(
    Inputs,
    new_events=st.integers(0, 3_000),
    watermark=st.just(0),
    drift=st.sampled_from([None, "stable", "drift", "insufficient"]),
    drift_looks=st.integers(0, 4),
    age_days=st.none() | st.floats(0, 100),
    unknown_share=st.none() | st.floats(0, 1),
    clicks=st.none() | st.just(LOST_CLICKS),
    asked_by=st.none() | st.just("A person"),
)
FLIGHTS = st.none() | st.builds(flight, st.sampled_from(["begun", "done", "failed", "lost"]), st.floats(0, 5))
RULES = st.builds(
    MonitorConfig,
    min_new_events=st.integers(1, 2_000),
    on_drift=st.sampled_from(["retrain", "alert", "ignore"]),
    drift_looks=st.integers(1, 3),
    max_age_days=st.none() | st.floats(1, 50),
    cooldown_hours=st.floats(0, 4),
)


@given(INPUTS, RULES, FLIGHTS, st.integers(0, 5_000))
def test_what_always_holds(inputs: Inputs, config: MonitorConfig, last: Flight | None, more: int) -> None:
    outcome = decide(inputs, config, now=NOW, flight=last)
    assert outcome.reasons
    if last is not None and last.state == "begun":
        assert outcome.verdict == "wait"
    elif inputs.asked_by:
        assert outcome.verdict == "retrain"
    elif last is not None and NOW - last.begun < config.cooldown_hours * HOUR:
        assert outcome.verdict != "retrain"
    if outcome.verdict == "retrain":
        later = decide(replace(inputs, new_events=inputs.new_events + more), config, now=NOW, flight=last)
        assert later.verdict == "retrain"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.sqlite'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}", clock=lambda: NOW)


def test_a_retraining_is_under_way_until_it_ends_its_process_is_gone_or_its_lease_is_over(store: Store) -> None:
    assert last_flight(store, "here", now=NOW) is None
    seq = begin(store, 4, "here", now=NOW)
    assert seq is not None
    running = Flight(seq=seq, begun=NOW, state="begun", answers=4)
    assert last_flight(store, "elsewhere", now=NOW + LEASE) == running
    assert last_flight(store, "elsewhere", now=NOW + LEASE + 1) == replace(running, state="lost")
    assert last_flight(store, "here", now=NOW) == replace(running, state="lost"), "who asks holds the project's lock"
    end(store, seq, DONE, "Gate: keep.")
    assert last_flight(store, "elsewhere", now=NOW) == replace(running, state="done")
    second = begin(store, None, "here", now=NOW)
    assert second is not None
    end(store, second, "failed", "No room.")
    assert last_flight(store, "here", now=NOW) == Flight(seq=second, begun=NOW, state="failed", answers=None)


def test_one_store_has_one_retraining_at_a_time(store: Store) -> None:
    first = begin(store, None, "here", now=NOW)
    assert first is not None
    assert begin(store, None, "elsewhere", now=NOW + LEASE) is None
    again = begin(store, None, "here", now=NOW)
    assert again is not None, "the first one's process is gone, since this project is locked by who asks"
    end(store, again, DONE, "Gate: keep.")
    assert begin(store, None, "elsewhere", now=NOW) is not None


def test_of_many_that_begin_at_once_one_does(any_url: str) -> None:
    def attempt(number: int) -> int | None:
        with Store.open(any_url, clock=lambda: NOW) as one:
            return begin(one, None, f"project {number}", now=NOW)

    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(attempt, range(8)))
    assert sum(seq is not None for seq in begun) == 1


def test_an_owner_is_its_folder_and_tells_nothing(tmp_path: Path) -> None:
    assert owner(tmp_path) == owner(tmp_path / "other" / "..")
    assert owner(tmp_path) != owner(tmp_path / "other")
    assert len(owner(tmp_path)) == 16


def test_a_decision_to_retrain_is_answered_once(store: Store) -> None:
    assert open_request(store) is None
    asked = store.decide("monitor", "retrain", {})
    store.decide("gate", "keep", {})
    assert open_request(store) == asked
    seq = begin(store, asked.seq, "here", now=NOW)
    assert seq is not None
    assert open_request(store) == asked, "one that was cut short is not an answer"
    end(store, seq, "failed", "No room.")
    assert open_request(store) == asked
    seq = begin(store, asked.seq, "here", now=NOW)
    assert seq is not None
    end(store, seq, DONE, "Gate: keep.")
    assert open_request(store) is None
    again = store.decide("monitor", "retrain", {})
    assert open_request(store) == again
    store.decide("monitor", "wait", {})
    assert open_request(store) is None


def test_what_is_not_known_of_the_items_is_said_to_be_unknown() -> None:
    sentences = [
        next(one.sentence for one in decide(found, MonitorConfig(), now=NOW).triggers if one.name == "unknown_items")
        for found in (Inputs(new_events=9, watermark=0, unknown_share=share) for share in (None, 0.0, 0.5))
    ]
    assert sentences == [
        "How many of the new events are about items that the champion does not know is unknown.",
        "The champion knows all items of the new events.",
        "50% of the new events are about items that the champion does not know.",
    ]


def test_the_age_is_that_of_the_bundle_and_a_rollback_makes_it_no_younger(tmp_path: Path) -> None:
    now = [NOW]
    with Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}", clock=lambda: now[0]) as store:
        assert age_days(store, NOW) is None
        store.deploy("promote", "a", "ease", "first")
        assert age_days(store, NOW + 36 * HOUR) == 1.5
        now[0] += 24 * HOUR
        store.deploy("canary", "b", "als", "a trial", share=0.1)
        assert age_days(store, NOW + 36 * HOUR) == 1.5
        now[0] += 24 * HOUR
        store.deploy("promote", "b", "als", "better")
        assert age_days(store, NOW + 60 * HOUR) == 1.5
        store.deploy("rollback", "a", "ease", "worse")
        assert age_days(store, NOW + 60 * HOUR) == 2.5
