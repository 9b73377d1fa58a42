"""Connections to the store's database, and its failures as sentences.

SQLite runs with a write-ahead log (readers never wait for the writer), `synchronous=FULL` (a commit survives a power
cut) and a busy timeout; its transactions that write say so when they begin, since one that turns from reading to
writing half-way may fail at once instead of waiting. PostgreSQL runs at READ COMMITTED, and does not wait for a lock
without end.
"""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.sql import func

from recloop.errors import RefusedValueError, StoreError
from recloop.store.schema import METADATA

_BUSY_SECONDS = 15
_CONNECT_SECONDS = 5
_WRITES = "recloop_writes"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REFUSED = (DataError, IntegrityError, UnicodeEncodeError)
_SETUP_LOCK = 7_301_001
"""Key of the PostgreSQL advisory lock under which tables are made."""


def connect(address: str) -> Engine:
    """An engine for the database at `address`, with tables made that are missing, and columns that came later.

    Several processes may do this at the same moment.

    Raises:
        StoreError: the address is not one of SQLite or PostgreSQL, or the database cannot be reached or is damaged.
    """
    url = _parse(address)
    sqlite = url.get_backend_name() == "sqlite"
    engine = _sqlite(url) if sqlite else _postgresql(url)
    try:
        with writing(engine) as connection:
            if not sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_SETUP_LOCK)))
            METADATA.create_all(connection)
            _add_columns(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """One transaction that writes: committed at the end of the block, or rolled back with its exception."""
    with (
        _sentences(engine.url),
        engine.connect().execution_options(**{_WRITES: True}) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: Engine) -> Generator[Connection]:
    """One transaction that reads."""
    with _sentences(engine.url), engine.connect() as connection:
        yield connection


def ping(engine: Engine) -> None:
    """Ask the database for nothing.

    Raises:
        StoreError: it does not answer.
    """
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))


def _add_columns(connection: Connection) -> None:
    """Give tables of an earlier version the columns that came since; older rows have nothing in them.

    Both databases do this without rewriting a row, and processes of the earlier version go on writing.
    """
    present, quote = inspect(connection), connection.dialect.identifier_preparer.quote
    for table in METADATA.sorted_tables:
        names = {column["name"] for column in present.get_columns(table.name)}
        for column in table.columns:
            if column.name not in names and column.nullable:
                kind = column.type.compile(connection.dialect)
                connection.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(column.name)} {kind}"))


def _parse(address: str) -> URL:
    remedy = "write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise StoreError(f"RECLOOP_DATABASE_URL is not the URL of a database; {remedy}.") from None
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise StoreError(f"The store cannot use '{url.drivername}' databases; {remedy}.")
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise StoreError("The store cannot be an SQLite database in memory, which no other process sees; name a file.")
    return url


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Change to the write-ahead log if need be; SQLite does not wait by itself when another process is changing too."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _postgresql(url: URL) -> Engine:
    limits = f"-c lock_timeout={_BUSY_SECONDS}s -c idle_in_transaction_session_timeout=60s"
    return create_engine(
        url,
        connect_args={"connect_timeout": _CONNECT_SECONDS, "options": limits},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
    )


@contextmanager
def _sentences(url: URL) -> Generator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, UnicodeEncodeError) as error:
        kind = RefusedValueError if isinstance(error, _REFUSED) else StoreError
        raise kind(_sentence(url, error)) from None


def _sentence(url: URL, error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    where = f"The store at {url.set(query={}).render_as_string(hide_password=True)}"
    reason = " ".join(str(cause).split()).rstrip(".;")
    if url.password:
        reason = reason.replace(url.password, "***")
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # without the details that SQLite adds
    state = getattr(cause, "sqlstate", None) or ""
    kinds = [
        (code in _DAMAGED, "is damaged", "restore the file from a backup, or move it away to start anew"),
        (
            code == sqlite3.SQLITE_BUSY or state == "55P03",
            "is held by another process",
            "wait for it to finish, then try again",
        ),
        (isinstance(error, _REFUSED), "refuses a value", "correct it and write again"),
        (code == sqlite3.SQLITE_FULL or state == "53100", "has no room left", "free space on its disk, then try again"),
        (
            code == sqlite3.SQLITE_READONLY or state in {"25006", "42501"},
            "may not be written to",
            "give this user the right to, then try again",
        ),
        (
            code == sqlite3.SQLITE_ERROR or state.startswith("42"),
            "has other tables than this version of recloop needs",
            "name another database in RECLOOP_DATABASE_URL",
        ),
        (True, "cannot be reached", "start the database or correct RECLOOP_DATABASE_URL"),
    ]
    what, remedy = next((what, remedy) for holds, what, remedy in kinds if holds)
    return f"{where} {what} ({reason}); {remedy}."
