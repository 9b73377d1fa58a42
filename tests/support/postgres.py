"""A private PostgreSQL for tests: one cluster a session (`postgres_server`), a new database a test (`postgres_url`)."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from recloop import processes

USER = "recloop"
PASSWORD = "recloop-test"
_ACCOUNT = "postgres"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A running cluster; its SQLAlchemy URL ends in the administrative database."""
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="recloop-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, _ACCOUNT)
    cluster, port = folder / "cluster", processes.free_port()
    password = folder / "password"
    password.write_text(PASSWORD, encoding="utf-8")
    password.chmod(0o644)
    sign_in = [f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256"]
    _run(binaries / "initdb", f"--pgdata={cluster}", *sign_in, "--encoding=UTF8", "--locale=C", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [binaries / "pg_ctl", f"--pgdata={cluster}", "--wait", "--timeout=60"]
    try:
        _run(*control, f"--options={options}", f"--log={folder / 'log'}", "start")
        yield f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        _run(*control, "--mode=immediate", "stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database that nobody else uses."""
    name = f"test_{uuid4().hex}"
    administration = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_server.removesuffix("/postgres") + f"/{name}"
    with administration.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    administration.dispose()


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        reason = "PostgreSQL is not installed; install the package 'postgresql'"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found[-1].parent if found else Path(str(on_path)).parent


def _run(*command: str | Path, check: bool = True) -> None:
    """Run a command of PostgreSQL, which refuses to be run as root."""
    switch = ["runuser", "-u", _ACCOUNT, "--"] if os.geteuid() == 0 else []
    subprocess.run(
        [*switch, *map(str, command)], check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    )
