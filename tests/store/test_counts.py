import pytest

from recloop.store import Event, Store, counts


def event(number: int, user: str = "u1") -> Event:
    return Event(event_id=f"e{number}", user_id=user, item_id="i1", event="click", timestamp=1_000_000 + number)


@pytest.fixture(autouse=True)
def worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "_WORTH", 2)


def test_the_number_is_right_whatever_comes_and_goes(store: Store):
    assert store.count_events() == 0
    store.add_events([event(number, f"u{number % 2}") for number in range(5)])
    assert [store.count_events() for _ in range(3)] == [5, 5, 5]
    store.add_events([event(number) for number in range(3, 6)])
    assert store.count_events() == 6
    store.erase("u0", "a test")
    assert [store.count_events() for _ in range(2)] == [3, 3]
    store.add_events([event(number) for number in range(6, 10)])
    assert [store.count_events() for _ in range(2)] == [7, 7]
    store.expire(before=1_000_007, held=store.last_event_seq(), asked_by="a test")
    assert [store.count_events() for _ in range(2)] == [3, 3]


def test_what_was_counted_is_not_counted_again(store: Store):
    store.add_events([event(number) for number in range(4)])
    assert store.count_events() == 4
    with counts.reading(store._engine) as connection:
        known = counts._read(connection)
        assert (known.events, known.seq) == (4, store.last_event_seq())
        assert counts._counted(connection, known._replace(events=100), known.seq).events == 100
    store.add_events([event(4)])
    assert store.count_events() == 5
    with counts.reading(store._engine) as connection:
        assert counts._read(connection) == known, "one event more is not worth writing down"


def test_a_number_that_cannot_be_written_down_is_given_all_the_same(store: Store, monkeypatch: pytest.MonkeyPatch):
    def held(_engine: object, _counted: object) -> None:
        raise counts.StoreError("The store is held by another process.")

    store.add_events([event(number) for number in range(4)])
    monkeypatch.setattr(counts, "_write", held)
    assert store.count_events() == 4
