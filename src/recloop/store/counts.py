"""How many events there are, without counting them all each time.

The table `keys` holds how many there were up to a `seq` below which none can appear any more, and how many erasures
there had been. Events are only added after that `seq`, and only an erasure deletes some: while there is no other one,
those after that `seq` are counted and added. One query counts events and erasures, so it sees both or neither of what
an erasure does in its transaction.
"""

import contextlib
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite

from recloop.errors import StoreError
from recloop.store import order
from recloop.store.connection import reading, writing
from recloop.store.schema import ERASURES, EVENTS, KEYS

_KEY = "events counted"
_WORTH = 50_000
"""So many events are counted each time rather than written down."""


class _Counted(NamedTuple):
    """`events` up to `seq`, after so many `erasures`."""

    events: int = 0
    seq: int = 0
    erasures: int = 0


def count(engine: Engine) -> int:
    """How many events are stored."""
    last = order.last_seq(engine, EVENTS)
    with reading(engine) as connection:
        known = _read(connection)
        found = _counted(connection, known, last)
        if found.erasures != known.erasures:
            known = _Counted()
            found = _counted(connection, known, last)
    if found.events - known.events > _WORTH:
        # Whoever may only read, or finds the store held by a writer, counts again next time.
        with contextlib.suppress(StoreError):
            _write(engine, found)
    return found.events


def after(engine: Engine, seq: int) -> int:
    """How many events have a greater `seq`."""
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(EVENTS).where(EVENTS.c.seq > seq)).scalar_one()


def _counted(connection: Connection, known: _Counted, last: int) -> _Counted:
    erasures = select(func.count()).select_from(ERASURES).scalar_subquery()
    new = select(func.count(), erasures).select_from(EVENTS).where(EVENTS.c.seq > known.seq, EVENTS.c.seq <= last)
    events, erased = connection.execute(new).one()
    return _Counted(known.events + events, max(known.seq, last), erased)


def _read(connection: Connection) -> _Counted:
    value = connection.execute(select(KEYS.c.value).where(KEYS.c.name == _KEY)).scalar_one_or_none()
    return _Counted(*map(int, value.split())) if value else _Counted()


def _write(engine: Engine, counted: _Counted) -> None:
    dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(KEYS).values(name=_KEY, value=" ".join(map(str, counted)))
    with writing(engine) as connection:
        connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"value": insert.excluded.value}))
