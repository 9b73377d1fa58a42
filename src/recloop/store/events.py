"""Events: what people did. Each is stored once, however often its sender repeats it; see `order` for following them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from recloop.store import erasures, order
from recloop.store.connection import reading, writing
from recloop.store.schema import EVENTS

_LOOKUP = 10_000
_NEVER = -(1 << 63)

SCHEMA = {
    "seq": pl.Int64(),
    "event_id": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "event": pl.String(),
    "value": pl.Float64(),
    "request_id": pl.String(),
    "timestamp": pl.Int64(),
    "received": pl.Int64(),
}
"""Columns of a batch of events; times are microseconds since 1970 UTC."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a person did with an item.

    Attributes:
        event_id: chosen by the sender, unique; repeating an event repeats it.
        user_id: who.
        item_id: with what.
        event: what was done: view, click, purchase, rating ...
        timestamp: when, microseconds since 1970 UTC.
        value: rating or weight, finite, if any.
        request_id: the recommendation that led to it, if any.
    """

    event_id: str
    user_id: str
    item_id: str
    event: str
    timestamp: int
    value: float | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Added:
    """What became of a batch of events.

    Attributes:
        accepted: how many are new and now stored.
        duplicates: how many were known with the same content; nothing was done.
        conflicts: indices into the batch of events whose id is known with other content; they are not stored.
        erased: indices of events that happened before their user was erased; they are not stored.
    """

    accepted: int
    duplicates: int
    conflicts: list[int]
    erased: list[int] = field(default_factory=list[int])


_CONTENT = tuple(column.name for column in fields(Event))


def add(engine: Engine, batches: Sequence[Sequence[Event]], received: int) -> list[Added]:
    """Store batches in one transaction, as if one came after the other; see `Store.add_batches`."""
    events = [event for batch in batches for event in batch]
    if not events:
        return [Added(accepted=0, duplicates=0, conflicts=[]) for _ in batches]
    with writing(engine) as connection:
        order.announce(connection, EVENTS)
        until = erasures.until(connection, (event.user_id for event in events))
        first: dict[str, Event] = {}
        for event in events:
            if not _is_erased(event, until):
                first.setdefault(event.event_id, event)
        new = _insert(connection, list(first.values()), received) if first else set[str]()
        known = first | _stored(connection, [event_id for event_id in first if event_id not in new])
    return [_fates(batch, until, known, new) for batch in batches]


def _fates(batch: Sequence[Event], until: Mapping[str, int], known: Mapping[str, Event], new: set[str]) -> Added:
    """What became of one batch; takes the ids of its own events from `new`, so that later ones repeat them."""
    accepted, conflicts, erased = 0, list[int](), list[int]()
    for index, event in enumerate(batch):
        if _is_erased(event, until):
            erased.append(index)
        elif event != known[event.event_id]:
            conflicts.append(index)
        elif event.event_id in new:
            new.remove(event.event_id)
            accepted += 1
    duplicates = len(batch) - accepted - len(conflicts) - len(erased)
    return Added(accepted=accepted, duplicates=duplicates, conflicts=conflicts, erased=erased)


def _is_erased(event: Event, until: Mapping[str, int]) -> bool:
    return event.timestamp <= until.get(event.user_id, _NEVER)


def after(engine: Engine, seq: int, limit: int) -> Iterator[pl.DataFrame]:
    """Batches of events in the order of `seq`; see `Store.events_after`."""
    assert limit > 0
    last = last_seq(engine)
    while seq < last:
        query = select(EVENTS).where(EVENTS.c.seq > seq, EVENTS.c.seq <= last).order_by(EVENTS.c.seq).limit(limit)
        with reading(engine) as connection:
            rows = connection.execute(query).fetchall()
        if not rows:
            return
        seq = rows[-1].seq
        yield pl.DataFrame([tuple(row) for row in rows], schema=SCHEMA, orient="row")


def last_seq(engine: Engine) -> int:
    """The greatest `seq` below which no further event can appear, 0 if there is none."""
    return order.last_seq(engine, EVENTS)


def _insert(connection: Connection, events: list[Event], received: int) -> set[str]:
    """Insert those events whose id is not stored; returns their ids.

    Rows go in by the order of their ids: of two transactions with the same ids one then waits for the other, where in
    different orders each would wait for the other for ever.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(EVENTS).on_conflict_do_nothing(index_elements=["event_id"])
    rows: list[dict[str, Any]] = [
        vars(event) | {"received": received} for event in sorted(events, key=lambda event: event.event_id)
    ]
    return set(connection.execute(insert.returning(EVENTS.c.event_id), rows).scalars())


def _stored(connection: Connection, event_ids: list[str]) -> dict[str, Event]:
    """The stored events with these ids."""
    columns = [EVENTS.c[name] for name in _CONTENT]
    found: dict[str, Event] = {}
    for start in range(0, len(event_ids), _LOOKUP):
        query = select(*columns).where(EVENTS.c.event_id.in_(event_ids[start : start + _LOOKUP]))
        found |= {row["event_id"]: Event(**row) for row in connection.execute(query).mappings()}
    return found
