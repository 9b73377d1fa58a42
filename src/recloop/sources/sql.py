"""Tables from a database: any SQLAlchemy URL, one query a table.

A query names the canonical columns itself (``SELECT customer AS user_id, ...``). Rows are streamed in chunks, so the
database never has to hold a whole answer for us.
"""

import os
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import Field
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from recloop import config
from recloop.columns import ITEM, USER
from recloop.data.tables import Tables, canonical_attributes, canonical_interactions, canonical_knowledge
from recloop.errors import SourceError
from recloop.sources import Batch, SourceContext

VARIANTS: tuple[str, ...] = ()

URL_VARIABLE = "RECLOOP_SOURCE_URL"
_CONNECT_SECONDS = 10


class Config(config.Config):
    """What to ask which database.

    Attributes:
        url: SQLAlchemy URL; if empty, the environment variable `RECLOOP_SOURCE_URL`, the right place for a password.
        interactions: query with `user_id`, `item_id`, `timestamp` and, where known, `event` and `value`.
        items: query with `item_id` and any attributes; empty for none.
        users: query with `user_id` and any attributes; empty for none.
        knowledge: query with `head`, `relation`, `tail`; empty for none.
        chunk_rows: rows fetched at a time.
    """

    url: str = ""
    interactions: str = Field(min_length=1)
    items: str = ""
    users: str = ""
    knowledge: str = ""
    chunk_rows: int = Field(default=100_000, ge=1)


def read(config: Config, context: SourceContext) -> Batch:
    """Run the queries.

    Raises:
        SourceError: the URL cannot be used, the database cannot be reached, or a query fails.
        DataError: an answer lacks a column, is empty, or a cell cannot be read as its type.
    """
    url = _url(config, context)
    shown = url.render_as_string(hide_password=True)
    queries = {name: getattr(config, name) for name in ("interactions", "items", "users", "knowledge")}
    with _connect(url, shown) as connection:
        frames = {
            name: _ask(connection, name, query, config.chunk_rows, context) for name, query in queries.items() if query
        }
    items, users, knowledge = (frames.get(name) for name in ("items", "users", "knowledge"))
    tables = Tables(
        interactions=canonical_interactions(frames["interactions"], "ingest.sql.interactions"),
        items=None if items is None else canonical_attributes(items, ITEM, "ingest.sql.items"),
        users=None if users is None else canonical_attributes(users, USER, "ingest.sql.users"),
        knowledge=None if knowledge is None else canonical_knowledge(knowledge, "ingest.sql.knowledge"),
    )
    return Batch(name="sql", tables=tables)


def _url(config: Config, context: SourceContext) -> URL:
    value = config.url or os.environ.get(URL_VARIABLE, "")
    if not value:
        raise SourceError(
            f"The database to ingest from is not named; set ingest.sql.url in params.yaml, or the environment variable "
            f"{URL_VARIABLE}."
        )
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise SourceError(
            "ingest.sql.url is not an SQLAlchemy URL; write it like postgresql+psycopg://user@host/database."
        ) from None
    file = url.database
    if url.get_backend_name() != "sqlite" or file in {None, "", ":memory:"}:
        return url
    path = context.root / str(file)
    if not path.is_file():
        raise SourceError(f"ingest.sql.url names the SQLite file {path}, which does not exist; correct the path.")
    return url.set(database=str(path))


def _connect(url: URL, shown: str) -> Connection:
    try:
        return _engine(url).connect().execution_options(stream_results=True)
    except (NoSuchModuleError, ImportError) as error:
        raise SourceError(
            f"No driver for the database at {shown} is installed ({error}); install it, or name another driver in the "
            f"URL."
        ) from None
    except SQLAlchemyError as error:
        raise SourceError(
            f"The database at {shown} cannot be reached ({_reason(error, url)}); start it or correct ingest.sql.url."
        ) from None


def _engine(url: URL) -> Engine:
    patience = {"connect_timeout": _CONNECT_SECONDS} if url.get_backend_name() == "postgresql" else {}
    return create_engine(url, connect_args=patience, poolclass=NullPool)


def _ask(connection: Connection, name: str, query: str, rows: int, context: SourceContext) -> pl.DataFrame:
    try:
        chunks = context.progress(_chunks(connection, name, query, rows), f"querying {name}")
        frames = list(chunks)
    except SQLAlchemyError as error:
        connection.rollback()
        reason = _reason(error, connection.engine.url)
        raise SourceError(f"The query ingest.sql.{name} fails ({reason}); correct it in params.yaml.") from None
    frame = pl.concat(frames, how="vertical_relaxed")
    if frame.is_empty():
        raise SourceError(f"The query ingest.sql.{name} returns no rows; correct it, or fill the table.")
    return frame


def _chunks(connection: Connection, name: str, query: str, rows: int) -> Iterator[pl.DataFrame]:
    """The answer as frames; the first is always there and may be empty, so that the columns are known."""
    with connection.execute(text(query)) as answer:
        columns = list(answer.keys())
        for column in columns:
            if columns.count(column) > 1:
                raise SourceError(
                    f"The query ingest.sql.{name} returns several columns '{column}'; give each its own name with AS."
                )
        yield pl.DataFrame(schema=dict.fromkeys(columns, pl.Null))
        for part in answer.partitions(rows):
            cells = zip(*part, strict=True)
            yield pl.DataFrame([_column(*pair) for pair in zip(columns, cells, strict=True)])


def _column(name: str, cells: tuple[Any, ...]) -> pl.Series:
    column = pl.Series(name, cells, strict=False)
    if column.dtype == pl.Object:
        return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)
    return column


def _reason(error: SQLAlchemyError, url: URL) -> str:
    """The driver's own words on one line, never with the password."""
    words = " ".join(str(getattr(error, "orig", None) or error).split())
    return words.replace(str(url.password), "***") if url.password else words
