import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import create_engine, text

from recloop.config import parse
from recloop.errors import ConfigError, DataError, SourceError
from recloop.progress import track
from recloop.sources import Batch, SourceContext, sql

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
NEXT = datetime(2024, 3, 2, tzinfo=UTC)
ORDERS = "SELECT customer AS user_id, article AS item_id, moment AS timestamp, 'purchase' AS event FROM orders"


@pytest.fixture
def shop(context: SourceContext) -> Path:
    path = context.root / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE orders (customer INTEGER, article TEXT, moment TEXT, stars REAL);"
            "INSERT INTO orders VALUES (2, 'b', '2024-03-02 00:00:00', 4.5), (1, 'a', '2024-03-01T12:00:00Z', NULL),"
            "(2, 'a', '2024-03-01T12:00:00Z', 3);"
            "CREATE TABLE articles (id TEXT, name TEXT, price INTEGER);"
            "INSERT INTO articles VALUES ('b', 'Tea', 3), ('a', NULL, 2);"
        )
    connection.close()
    return path


def read(context: SourceContext, **options: object) -> Batch:
    return sql.read(parse(sql.Config, options, "params.yaml: ingest.sql"), context)


def sentence(context: SourceContext, **options: object) -> str:
    with pytest.raises((SourceError, DataError, ConfigError)) as caught:
        read(context, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_sqlite(context: SourceContext, shop: Path, chunk_rows: int) -> None:
    batch = read(
        context,
        url="sqlite:///shop.sqlite",
        interactions="SELECT customer AS user_id, article AS item_id, moment AS timestamp, stars AS value FROM orders",
        items="SELECT id AS item_id, name AS title, price FROM articles",
        users="SELECT DISTINCT customer AS user_id FROM orders",
        knowledge="SELECT 'item:' || id AS head, 'costs' AS relation, price AS tail FROM articles",
        chunk_rows=chunk_rows,
    )
    assert batch.name == "sql"
    tables = batch.tables
    assert tables.interactions.rows() == [
        ("1", "a", NOON, "rating", None),
        ("2", "a", NOON, "rating", 3.0),
        ("2", "b", NEXT, "rating", 4.5),
    ]
    assert tables.items is not None
    assert tables.items.rows() == [("a", None, 2), ("b", "Tea", 3)]
    assert tables.users is not None
    assert tables.users.rows() == [("1",), ("2",)]
    assert tables.knowledge is not None
    assert tables.knowledge.rows() == [("item:a", "costs", "2"), ("item:b", "costs", "3")]


def test_the_url_may_come_from_the_environment(
    context: SourceContext, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLOOP_SOURCE_URL", f"sqlite:///{shop}")
    assert read(context, interactions=ORDERS).tables.interactions["event"].to_list() == ["purchase"] * 3
    monkeypatch.delenv("RECLOOP_SOURCE_URL")
    assert sentence(context, interactions=ORDERS) == (
        "The database to ingest from is not named; set ingest.sql.url in params.yaml, or the environment variable "
        "RECLOOP_SOURCE_URL."
    )


def test_a_wrong_url_is_named(context: SourceContext) -> None:
    assert sentence(context, url="shop.sqlite", interactions=ORDERS) == (
        "ingest.sql.url is not an SQLAlchemy URL; write it like postgresql+psycopg://user@host/database."
    )
    assert sentence(context, url="sqlite:///none.sqlite", interactions=ORDERS) == (
        f"ingest.sql.url names the SQLite file {context.root}/none.sqlite, which does not exist; correct the path."
    )
    assert not (context.root / "none.sqlite").exists()
    for url, shown in (("oracle+nodriver://u:geheim@h/d", "oracle+nodriver://u:***@h/d"), ("mysql+mysqldb://h/d",) * 2):
        message = sentence(context, url=url, interactions=ORDERS)
        assert message.startswith(f"No driver for the database at {shown} is installed (")
        assert message.endswith("); install it, or name another driver in the URL.")


def test_an_unreachable_database_is_named_without_its_password(context: SourceContext) -> None:
    message = sentence(context, url="postgresql+psycopg://me:geheim@127.0.0.1:1/shop", interactions=ORDERS)
    assert message.startswith("The database at postgresql+psycopg://me:***@127.0.0.1:1/shop cannot be reached (")
    assert message.endswith("); start it or correct ingest.sql.url.")
    assert "geheim" not in message


def test_a_failing_query_is_named(context: SourceContext, shop: Path) -> None:
    url = "sqlite:///shop.sqlite"
    assert sentence(context, url=url, interactions="SELECT 1 FROM nowhere") == (
        "The query ingest.sql.interactions fails (no such table: nowhere); correct it in params.yaml."
    )
    assert sentence(context, url=url, interactions=ORDERS, items="SELEC 1").startswith(
        "The query ingest.sql.items fails (near"
    )
    assert sentence(context, url=url, interactions=ORDERS + " WHERE 0") == (
        "The query ingest.sql.interactions returns no rows; correct it, or fill the table."
    )
    assert sentence(context, url=url, interactions="SELECT customer AS user_id FROM orders") == (
        "ingest.sql.interactions has no column 'item_id'; it has: user_id; map or rename one to 'item_id'."
    )
    assert sentence(context, url=url, interactions=ORDERS.replace("moment", "'soon'")).startswith(
        "ingest.sql.interactions: 3 cell(s) of 'timestamp' are not a date and time, the first is 'soon' in row 0;"
    )
    assert sentence(context, url=url) == "params.yaml: ingest.sql.interactions is required; add it."
    assert sentence(context, url=url, interactions="").startswith("params.yaml: ingest.sql.interactions is '', but")
    assert sentence(context, url=url, interactions=ORDERS, chunk_rows=0).startswith(
        "params.yaml: ingest.sql.chunk_rows is 0, but input should be greater than or equal to 1;"
    )
    assert sentence(context, url=url, interactions="SELECT 1 AS user_id, 2 AS user_id") == (
        "The query ingest.sql.interactions returns several columns 'user_id'; give each its own name with AS."
    )


@pytest.mark.integration
class TestPostgres:
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        engine = create_engine(postgres_url)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TABLE orders (customer uuid, article int, moment timestamptz, stars numeric(3, 1));"
                    "CREATE TABLE articles (id int, tags text[], price numeric(5, 2));"
                    "INSERT INTO articles VALUES (7, '{a,b}', 1.5), (8, NULL, NULL);"
                    f"ALTER DATABASE {engine.url.database} SET timezone TO 'Europe/Berlin'"
                )
            )
            connection.execute(
                text("INSERT INTO orders VALUES (:customer, :article, :moment, :stars)"),
                [
                    {"customer": uuid.UUID(int=2), "article": 8, "moment": NEXT, "stars": Decimal("4.5")},
                    {"customer": uuid.UUID(int=1), "article": 7, "moment": NOON, "stars": None},
                ],
            )
        engine.dispose()
        return postgres_url

    def test_types_of_postgres_become_canonical(self, context: SourceContext, url: str) -> None:
        tables = read(
            context,
            url=url,
            interactions="SELECT customer user_id, article item_id, moment AS timestamp, stars AS value FROM orders",
            items="SELECT id AS item_id, tags AS categories, price FROM articles",
            chunk_rows=1,
        ).tables
        assert tables.interactions.rows() == [
            (str(uuid.UUID(int=1)), "7", NOON, "rating", None),
            (str(uuid.UUID(int=2)), "8", NEXT, "rating", 4.5),
        ]
        assert tables.items is not None
        assert tables.items.rows() == [("7", ["a", "b"], Decimal("1.50")), ("8", None, None)]

    def test_rows_come_in_chunks(self, context: SourceContext, url: str) -> None:
        sizes: list[int] = []

        def watch(steps: Iterable[pl.DataFrame], description: str) -> Iterator[pl.DataFrame]:
            for step in track(steps, description):
                sizes.append(step.height)
                yield step

        query = "SELECT n % 10 AS user_id, n AS item_id, n AS timestamp FROM generate_series(1, 25000) AS n"
        batch = read(replace(context, progress=watch), url=url, interactions=query, chunk_rows=10_000)
        assert sizes == [0, 10_000, 10_000, 5_000]
        assert batch.tables.interactions.height == 25_000

    def test_errors_of_postgres_are_one_sentence(self, context: SourceContext, url: str) -> None:
        message = sentence(context, url=url, interactions="SELECT a FROM nowhere")
        assert message.startswith('The query ingest.sql.interactions fails (relation "nowhere" does not exist')
        wrong = url.replace(":recloop-test@", ":geheim@")
        message = sentence(context, url=wrong, interactions=ORDERS)
        assert "password authentication failed" in message
        assert "geheim" not in message
