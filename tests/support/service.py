"""A running service for tests: the real `bentoml serve`, one worker, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_SECONDS = 120
STOP_SECONDS = 20


@contextmanager
def serve(
    bundle: Path | None,
    store_url: str,
    *,
    target: str = ".",
    folder: Path = ROOT,
    python: str = sys.executable,
    home: Path | None = None,
    wait_for: str = "/readyz",
) -> Generator[str]:
    """The base URL of a service that runs until the block ends.

    Args:
        bundle: the bundle's folder; `None` leaves it to the service to find one.
        store_url: of the events' store.
        target: what to serve: `.` for the bentofile of `folder`, or the tag or path of a built Bento.
        folder: the working directory.
        python: the interpreter to serve with.
        home: BentoML's store of Bentos; by default an empty one, so that no other server shares its metrics.
        wait_for: which path must answer 200 before the block begins.
    """
    with tempfile.TemporaryDirectory() as scratch:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RECLOOP_", "PYTHON"))}
        env |= {"BENTOML_HOME": str(home or scratch), "BENTOML_DO_NOT_TRACK": "True", "RECLOOP_DATABASE_URL": store_url}
        if bundle is not None:
            env["RECLOOP_BUNDLE"] = str(bundle)
        port = _free_port()
        command = [python, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        url = f"http://127.0.0.1:{port}"
        try:
            if not _answers(url + wait_for, process):
                raise AssertionError(f"{' '.join(command)} did not answer {wait_for}:\n{log.read_text()[-4000:]}")
            yield url
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=2).status_code == 200:
                return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
