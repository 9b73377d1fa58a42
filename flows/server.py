"""A Prefect server of the project's own, for as long as it is needed."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, MutableMapping
from pathlib import Path

from recloop import processes
from recloop.errors import RecloopError

START_SECONDS = 180.0
AGAIN_SECONDS = 1.0
"""How often to look whether the server is still there."""


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

    If it dies it is started again.

    Args:
        root: the project's folder.
        port: on 127.0.0.1.
        env: the environment; what clients of this server need is added to it. Prefect reads it when it is imported.

    Yields:
        the address of the API.

    Raises:
        RecloopError: the port is taken, or the server is not healthy after three minutes.
    """
    port = processes.free_port(port)
    home = Path(env.setdefault("PREFECT_HOME", str(root / ".prefect")))
    home.mkdir(parents=True, exist_ok=True)
    api = f"http://{processes.LOCALHOST}:{port}/api"
    quiet(env)
    env["PREFECT_API_URL"] = env["PREFECT_UI_API_URL"] = api
    env.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", processes.LOCALHOST, "--port", str(port)]
    log = home / "server.log"
    with log.open("wb") as output, contextlib.ExitStack() as stack:

        def start() -> "subprocess.Popen[bytes]":
            return stack.enter_context(processes.running(command, folder=root, env=dict(env), output=output))

        process = start()
        if not processes.answers(f"{api}/health", process, START_SECONDS):
            tail = processes.last_lines(log, 3)
            raise RecloopError(f"The Prefect server did not start ({tail}); {log} says more.")
        ending = threading.Event()
        keeper = threading.Thread(target=_keep, args=(process, start, ending), name="server", daemon=True)
        keeper.start()
        try:
            yield api
        finally:
            ending.set()
            keeper.join()


def _keep(
    process: "subprocess.Popen[bytes]", start: Callable[[], "subprocess.Popen[bytes]"], ending: threading.Event
) -> None:
    while not ending.wait(AGAIN_SECONDS):
        if process.poll() is not None:
            process = start()
