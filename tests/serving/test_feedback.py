from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.errors import RefusedValueError, StoreError
from recloop.serving.feedback import Feedback
from recloop.serving.schemas import FeedbackResponse
from recloop.store import Added, Store
from recloop.store import Event as StoredEvent
from tests.support.waiting import until

NOW = 1_800_000_000.0
GOOD = {"event_id": "e1", "user_id": "u", "item_id": "i", "event": "click", "timestamp": NOW}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.sqlite") as opened:
        yield opened


@pytest.fixture
def feedback(store: Store) -> Feedback:
    return Feedback(lambda: store, lambda: NOW)


def reasons(response: FeedbackResponse) -> dict[int, str]:
    return {rejection.index: rejection.reason for rejection in response.rejected}


def stored(store: Store) -> pl.DataFrame:
    return pl.concat([*store.events_after(0), pl.DataFrame()], how="diagonal")


def test_accepted_events_are_in_the_store(feedback: Feedback, store: Store) -> None:
    whole = GOOD | {"event_id": "e2", "value": 4, "request_id": "r", "timestamp": "2020-01-01T00:00:00Z"}
    response = feedback.take([GOOD, whole])
    assert (response.accepted, response.duplicates, response.rejected) == (2, 0, [])
    rows = stored(store).sort("event_id").drop("seq", "received").rows()
    assert rows == [
        ("e1", "u", "i", "click", None, None, 1_800_000_000_000_000),
        ("e2", "u", "i", "click", 4.0, "r", 1_577_836_800_000_000),
    ]


def test_a_retry_changes_nothing(feedback: Feedback, store: Store) -> None:
    feedback.take([GOOD])
    response = feedback.take([GOOD, GOOD | {"timestamp": "2027-01-15T08:00:00Z"}])
    assert (response.accepted, response.duplicates, response.rejected) == (0, 2, [])
    assert store.count_events() == 1


def test_bad_events_are_rejected_by_index_and_the_others_stored(feedback: Feedback, store: Store) -> None:
    response = feedback.take(
        [
            "not an event",
            GOOD,
            {name: value for name, value in GOOD.items() if name != "item_id"},
            GOOD | {"event_id": "e3", "timestamp": NOW + 61},
            GOOD | {"event_id": "e4", "timestamp": "soon"},
            GOOD | {"event_id": "e5", "value": True},
            GOOD | {"event_id": "e6", "value": float("nan")},
            GOOD | {"event_id": "e7", "rating": 5},
            GOOD | {"event_id": "e8", "user_id": "u\x00"},
            GOOD | {"event_id": "e9", "item_id": "never seen before", "timestamp": NOW + 59},
        ]
    )
    assert (response.accepted, response.duplicates) == (2, 0)
    assert reasons(response) == {
        0: "the event: input should be a valid dictionary or instance of FeedbackEvent.",
        2: "item_id: field required.",
        3: "timestamp lies in the future; numbers are seconds since 1970.",
        4: "timestamp: is no ISO 8601 time such as 2026-01-31T12:00:00Z.",
        5: "value: input should be a valid number.",
        6: "value: input should be a finite number.",
        7: "rating: extra inputs are not permitted.",
        8: r"user_id: string should match pattern '^[^\x00]+$'.",
    }
    assert stored(store)["event_id"].sort().to_list() == ["e1", "e9"]


def test_an_id_that_was_used_for_something_else_is_rejected(feedback: Feedback, store: Store) -> None:
    feedback.take([GOOD])
    response = feedback.take(["bad", GOOD | {"event": "purchase"}, GOOD])
    assert (response.accepted, response.duplicates) == (0, 1)
    assert reasons(response)[1] == "event_id was used before for an event with other content."
    assert stored(store)["event"].to_list() == ["click"]


def test_no_events_are_fine(feedback: Feedback) -> None:
    assert feedback.take([]) == FeedbackResponse(accepted=0, duplicates=0, rejected=[])


def test_the_store_is_opened_when_it_is_there_again(store: Store) -> None:
    doors: list[Any] = [StoreError("The store is closed."), store]

    def open_store() -> Store:
        door = doors.pop(0)
        if isinstance(door, StoreError):
            raise door
        return door

    feedback = Feedback(open_store, lambda: NOW)
    with pytest.raises(StoreError):
        feedback.take([GOOD])
    assert feedback.take([GOOD]).accepted == 1
    feedback.close()


def test_threads_share_one_store(tmp_path: Path) -> None:
    opened: list[Store] = []

    def open_store() -> Store:
        opened.append(Store.open(f"sqlite:///{tmp_path}/store.sqlite"))
        return opened[-1]

    feedback = Feedback(open_store, lambda: NOW)
    batches = [[GOOD | {"event_id": f"{batch}-{event}"} for event in range(5)] for batch in range(20)]
    with ThreadPoolExecutor(8) as pool:
        assert sum(response.accepted for response in pool.map(feedback.take, batches)) == 100
    with Store.open(f"sqlite:///{tmp_path}/store.sqlite") as store:
        assert store.count_events() == 100
    feedback.close()
    for store in opened:
        store.close()


def test_batches_that_wait_share_a_commit_and_each_is_told_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits, begun, go_on = list[int](), Event(), Event()
    add = Store.add_batches

    def slowly(self: Store, batches: Sequence[Sequence[StoredEvent]]) -> list[Added]:
        commits.append(len(batches))
        begun.set()
        assert go_on.wait(10)
        return add(self, batches)

    monkeypatch.setattr(Store, "add_batches", slowly)
    feedback = Feedback(lambda: store, lambda: NOW)
    same, other = GOOD | {"event_id": "same"}, GOOD | {"event_id": "same", "event": "purchase"}
    batches = [[GOOD], [same, GOOD], [other, GOOD | {"event_id": "mine"}], ["bad", same]]
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(feedback.take, batches[0])]
        assert begun.wait(10)
        for number, batch in enumerate(batches[1:], 1):
            asked.append(pool.submit(feedback.take, batch))
            until(lambda number=number: len(feedback._waiting) == number)  # pyright: ignore[reportPrivateUsage]
        go_on.set()
        told = [future.result() for future in asked]
    assert commits == [1, 3]
    assert [(one.accepted, one.duplicates, len(one.rejected)) for one in told] == [
        (1, 0, 0),
        (1, 1, 0),
        (1, 0, 1),
        (0, 1, 1),
    ]
    assert reasons(told[2]) == {0: "event_id was used before for an event with other content."}
    assert stored(store)["event_id"].sort().to_list() == ["e1", "mine", "same"]


def test_a_value_that_the_store_refuses_is_the_trouble_of_its_own_batch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Store.add_batches

    def picky(self: Store, batches: Sequence[Sequence[StoredEvent]]) -> list[Added]:
        if any(event.item_id == "refused" for batch in batches for event in batch):
            raise RefusedValueError("The store refuses a value.")
        return add(self, batches)

    monkeypatch.setattr(Store, "add_batches", picky)
    feedback = Feedback(lambda: store, lambda: NOW)
    batches = [[GOOD | {"event_id": f"e{n}", "item_id": "refused" if n == 7 else "i"}] for n in range(20)]

    def take(batch: list[Any]) -> str:
        try:
            return str(feedback.take(batch).accepted)
        except RefusedValueError as error:
            return str(error)

    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(take, batches))
    assert told == ["The store refuses a value." if n == 7 else "1" for n in range(20)]
    assert store.count_events() == 19


def test_a_store_that_is_away_is_told_to_all_who_wait_and_nothing_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback = Feedback(lambda: store, lambda: NOW)

    def away(*_: object) -> list[Added]:
        raise StoreError("The store is away.")

    def take(number: int) -> str:
        try:
            feedback.take([GOOD | {"event_id": f"e{number}"}])
        except StoreError as error:
            return str(error)
        return "taken"

    with monkeypatch.context() as broken:
        broken.setattr(Store, "add_batches", away)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(take, range(40))) == {"The store is away."}
    assert store.count_events() == 0
    assert take(1) == "taken"


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3)
_FIELDS = st.dictionaries(st.sampled_from([*GOOD, "value", "request_id", "other"]), _JSON)


@settings(max_examples=25, deadline=None)
@given(batch=st.lists(_JSON | _FIELDS.map(lambda fields: GOOD | fields), max_size=6))
def test_every_event_is_in_exactly_one_of_the_three(tmp_path_factory: pytest.TempPathFactory, batch: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("store")
    with Store.open(f"sqlite:///{folder}/store.sqlite") as store:
        response = Feedback(lambda: store, lambda: NOW).take(batch)
        assert response.accepted + response.duplicates + len(response.rejected) == len(batch)
        assert store.count_events() == response.accepted
        assert reasons(response).keys() <= set(range(len(batch)))


def test_what_an_erased_person_did_before_is_rejected(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.sqlite", clock=lambda: round(NOW * 1_000_000)) as store:
        store.erase("u", "test")
        batch = [
            {"event_id": "broken"},
            GOOD,
            GOOD | {"event_id": "e2", "user_id": "v"},
            GOOD | {"event_id": "e3", "timestamp": NOW + 1},
        ]
        response = Feedback(lambda: store, lambda: NOW).take(batch)
        assert (response.accepted, response.duplicates) == (2, 0)
        assert reasons(response)[1] == "user_id was forgotten after this happened; it is not stored again."
        assert sorted(reasons(response)) == [0, 1]
        assert stored(store)["event_id"].to_list() == ["e2", "e3"]


def test_the_store_holds_what_stands_for_a_user(feedback: Feedback, store: Store) -> None:
    assert feedback.take([GOOD], stored_id=lambda user: f"not {user}").accepted == 1
    assert stored(store)["user_id"].to_list() == ["not u"]
    assert feedback.take([GOOD]).rejected[0].index == 0, "under another id it is another event"
