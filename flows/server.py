"""A Prefect server of the project's own, for as long as it is needed."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Generator, MutableMapping
from pathlib import Path

import httpx

from flows import project
from recloop.errors import RecloopError

START_SECONDS = 180.0
HOST = "127.0.0.1"


def quiet(env: MutableMapping[str, str]) -> None:
    """Switch off what Prefect would send away."""
    env["DO_NOT_TRACK"] = "1"
    env["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"


def page(api: str) -> str:
    """The address of the UI that belongs to the address of an API."""
    return api.rstrip("/").removesuffix("/api")


@contextlib.contextmanager
def running(root: Path, port: int, env: MutableMapping[str, str]) -> Generator[str]:
    """Run a server on `port` until the block ends; its database and log lie in `.prefect` unless PREFECT_HOME is set.

    Args:
        root: the project's folder.
        port: on 127.0.0.1.
        env: the environment; what clients of this server need is added to it. Prefect reads it when it is imported.

    Yields:
        the address of the API.

    Raises:
        RecloopError: the port is taken, or the server is not healthy after three minutes.
    """
    _require_free(port)
    home = Path(env.setdefault("PREFECT_HOME", str(root / ".prefect")))
    home.mkdir(parents=True, exist_ok=True)
    api = f"http://{HOST}:{port}/api"
    quiet(env)
    env["PREFECT_API_URL"] = env["PREFECT_UI_API_URL"] = api
    env.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=root, env=dict(env), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        if not _healthy(process, api):
            tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
            raise RecloopError(f"The Prefect server did not start ({tail or 'no output'}); {log} says more.")
        yield api
    finally:
        project.stop(process)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            raise RecloopError(f"Port {port} is taken or not allowed; choose another one with --port.") from None


def _healthy(process: subprocess.Popen[bytes], api: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{api}/health", timeout=5).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    return False
