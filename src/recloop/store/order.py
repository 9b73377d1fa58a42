"""Following a table by `seq` without ever missing a row.

A reader that remembers the last `seq` it saw must never miss a row that appears later with a lower one. SQLite has one
writer at a time, so rows appear in the order of `seq`. PostgreSQL gives `seq` to a row before its transaction commits,
so of two transactions the one with the higher `seq` may commit first. Therefore a writer holds a shared advisory lock
from before its first `seq` until its commit (`announce`), and `last_seq` takes the same lock exclusively for one query:
at that moment no writer is under way, every `seq` up to the greatest is either committed or will never be, and later
ones are greater, because a sequence only grows. Writers do not wait for one another, and for a reader only that long.
"""

from sqlalchemy import Connection, Engine, Table, func, select

from recloop.store.connection import reading

LOCKS = {"events": 7_301_002, "slates": 7_301_010}
"""Keys of the PostgreSQL advisory locks, one a table that is followed."""


def announce(connection: Connection, table: Table) -> None:
    """Say, before the first row of a transaction, that rows are being added to `table`."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock_shared(LOCKS[table.name])))


def last_seq(engine: Engine, table: Table) -> int:
    """The greatest `seq` of `table` below which no further row can appear, 0 if there is none."""
    greatest = select(func.coalesce(func.max(table.c.seq), 0))
    with reading(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(LOCKS[table.name])))
        return connection.execute(greatest).scalar_one()
