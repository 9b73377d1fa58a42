"""Following a table by `seq` without ever missing a row.

A reader that remembers the last `seq` it saw must never miss a row that appears later with a lower one. SQLite has one
writer at a time, so rows appear in the order of `seq`. PostgreSQL gives `seq` to a row before its transaction commits,
so of two transactions the one with the higher `seq` may commit first. Therefore a writer holds a shared advisory lock
from before its first `seq` until its commit (`announce`), and `last_seq` takes the same lock exclusively for one query:
at that moment no writer is under way, every `seq` up to the greatest is either committed or will never be, and later
ones are greater, because a sequence only grows. Writers do not wait for one another, and for a reader only that long.

Rows that were erased keep their numbers: the greatest `seq` never becomes smaller.
"""

from sqlalchemy import Connection, Engine, Table, func, select

from recloop.store.connection import reading
from recloop.store.schema import ERASURES

LOCKS = {"events": 7_301_002, "slates": 7_301_010}
"""Keys of the PostgreSQL advisory locks, one a table that is followed."""


def announce(connection: Connection, table: Table) -> None:
    """Say, before the first row of a transaction, that rows are being added to `table`."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock_shared(LOCKS[table.name])))


def hold(connection: Connection, table: Table) -> None:
    """Wait for the writers of `table` and keep others out until the end of this transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(LOCKS[table.name])))


def greatest(connection: Connection, table: Table) -> int:
    """The greatest `seq` that a row of `table` has or, erased since, had; 0 if there was none."""
    seqs = [connection.execute(select(func.coalesce(func.max(table.c.seq), 0))).scalar_one()]
    if table.name == "events":
        seqs.append(connection.execute(select(func.coalesce(func.max(ERASURES.c.last_event), 0))).scalar_one())
    return max(seqs)


def last_seq(engine: Engine, table: Table) -> int:
    """The greatest `seq` of `table` below which no further row can appear, 0 if there is none."""
    with reading(engine) as connection:
        hold(connection, table)
        return greatest(connection, table)
