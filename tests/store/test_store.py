import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from recloop.errors import StoreError
from recloop.store import Event, Slate, Store

EVENT = Event(event_id="a", user_id="u", item_id="i", event="view", timestamp=1)

OPEN_AND_WRITE = """
import sys
from recloop.store import Event, Store
with Store.open(sys.argv[1]) as store:
    store.add_events([Event(event_id=sys.argv[2], user_id="u", item_id="i", event="view", timestamp=1)])
"""


@pytest.mark.integration
def test_processes_that_start_together_share_the_tables(url: str):
    command = [sys.executable, "-c", OPEN_AND_WRITE, url]
    started = [subprocess.Popen([*command, f"{number}"], stderr=subprocess.PIPE) for number in range(6)]
    assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 6
    with Store.open(url) as store:
        assert store.count_events() == 6


def test_opening_again_keeps_everything(store: Store, url: str):
    store.add_events([EVENT])
    with Store.open(url) as again:
        again.ping()
        assert again.count_events() == 1


def test_a_database_of_an_earlier_version_gets_the_columns_that_came_since(url: str):
    slate = Slate(
        request_id="r", timestamp=1, bundle="b", policy="top_n", items=["i"], scores=[1.0], worker="w", serial=0
    )
    later = ("places", "took", "fallback", "failed")
    with Store.open(url) as store:
        store.add_slates([slate])
        with store._engine.begin() as connection:
            for name in later:
                connection.exec_driver_sql(f"ALTER TABLE slates DROP COLUMN {name}")
    with Store.open(url) as again, Store.open(url):
        again.add_slates([replace(slate, request_id="s", serial=1, took=7, failed="c")])
        rows = pl.concat(again.slates_after(0)).select("request_id", *later).rows()
    assert rows == [("r", None, None, None, None), ("s", 1, 7, None, "c")]


def test_the_default_is_a_file_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)
    with Store.open() as store:
        assert store.url == "sqlite:///recloop.sqlite"
    assert (tmp_path / "recloop.sqlite").is_file()
    (tmp_path / "project").mkdir()
    Store.open(root=tmp_path / "project").close()
    assert (tmp_path / "project" / "recloop.sqlite").is_file()


def test_the_environment_names_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECLOOP_DATABASE_URL", f"sqlite:///{tmp_path}/other.sqlite")
    Store.open().close()
    assert (tmp_path / "other.sqlite").is_file()


def test_sqlite_survives_power_cuts(tmp_path: Path):
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as store, store._engine.connect() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


def test_a_server_that_is_away():
    with pytest.raises(StoreError) as raised:
        Store.open("postgresql://me:se%40cret@127.0.0.1:1/loop?application_name=x")
    sentence = str(raised.value)
    assert sentence.startswith(
        "The store at postgresql+psycopg://me:***@127.0.0.1:1/loop cannot be reached (connection failed"
    )
    assert sentence.endswith("start the database or correct RECLOOP_DATABASE_URL.")
    assert "se@cret" not in sentence
    assert "se%40cret" not in sentence


@pytest.mark.integration
def test_a_wrong_password(postgres_url: str):
    with pytest.raises(StoreError, match=r"recloop:\*\*\*@.* cannot be reached .*authentication failed") as raised:
        Store.open(postgres_url.replace("recloop-test", "let-me-in"))
    assert "let-me-in" not in str(raised.value)


def test_a_folder_that_does_not_exist(tmp_path: Path):
    with pytest.raises(StoreError, match=r"cannot be reached \(unable to open database file\); start the database"):
        Store.open(f"sqlite:///{tmp_path}/no/such/folder.sqlite")


def test_a_file_that_is_no_database(tmp_path: Path):
    file = tmp_path / "s.sqlite"
    file.write_bytes(b"user_id,item_id\n" * 1000)
    with pytest.raises(StoreError, match=r"s\.sqlite is damaged \(file is not a database\); restore the file"):
        Store.open(f"sqlite:///{file}")
    assert file.read_bytes() == b"user_id,item_id\n" * 1000


def test_a_file_with_damaged_pages(tmp_path: Path):
    file = tmp_path / "s.sqlite"
    with Store.open(f"sqlite:///{file}") as store:
        store.add_events([Event(**(vars(EVENT) | {"event_id": f"{number}"})) for number in range(2000)])
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with (
        pytest.raises(StoreError, match=r"s\.sqlite is damaged \(database disk image is malformed\)"),
        Store.open(f"sqlite:///{file}") as store,
    ):
        list(store.events_after(0))


def test_a_database_held_by_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recloop.store.connection._BUSY_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path}/s.sqlite"
    with Store.open(url) as holder, Store.open(url) as store, holder._engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.rollback()
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"held by another process \(database is locked\); wait"):
            store.add_events([EVENT])
        raw.execute("ROLLBACK")
        assert store.add_events([EVENT]).accepted == 1


def test_a_full_disk(tmp_path: Path):
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as store:
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=20")
        batch = [Event(**(vars(EVENT) | {"event_id": f"{number}", "user_id": "u" * 1000})) for number in range(100)]
        with pytest.raises(
            StoreError, match=r"s\.sqlite has no room left \(database or disk is full\); free space on its disk"
        ):
            store.add_events(batch)
        assert store.count_events() == 0


def test_a_database_that_may_not_be_written_to(store: Store):
    with store._engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("PRAGMA query_only=1" if sqlite else "SET default_transaction_read_only = on")
        connection.commit()
    with pytest.raises(StoreError, match=r"may not be written to \(.*\); give this user the right to"):
        store.add_events([EVENT])


def test_a_database_with_other_tables(store: Store):
    with store._engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE events")
        connection.commit()
    with pytest.raises(StoreError, match=r"has other tables than this version of recloop needs \(.*events.*\); name"):
        store.add_events([EVENT])


def test_a_text_that_the_database_refuses(store: Store):
    with pytest.raises(StoreError, match="refuses a value"):
        store.add_events([EVENT, Event(**(vars(EVENT) | {"event_id": "b", "user_id": "\ud800"}))])
    assert store.count_events() == 0


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("recloop", "RECLOOP_DATABASE_URL is not the URL of a database; write sqlite:///FILE or postgresql+psycopg://"),
        ("postgresql://me:se@cret:port/x", "RECLOOP_DATABASE_URL is not the URL of a database; write"),
        ("mysql://localhost/x", "The store cannot use 'mysql' databases; write sqlite:///FILE or"),
        ("sqlite://", "The store cannot be an SQLite database in memory, which no other process sees; name a file."),
    ],
)
def test_a_url_that_cannot_be_used(url: str, sentence: str):
    with pytest.raises(StoreError) as raised:
        Store.open(url)
    assert sentence in str(raised.value)
    assert "cret" not in str(raised.value)


@pytest.mark.integration
def test_a_database_that_restarts_is_found_again(postgres_url: str):
    with Store.open(postgres_url) as store, Store.open(postgres_url) as other:
        with other._engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert store.add_events([EVENT]).accepted == 1
