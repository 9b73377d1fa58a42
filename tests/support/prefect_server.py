"""Prefect for tests, always the real server: for flows called in a test, or as `flows.serve` starts it."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from recloop import processes
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
START_SECONDS = 240.0
BUSY_SECONDS = 60.0
LAST = "tune"
"""The flow that is deployed last."""

T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """A running `flows.serve` and the address of its UI."""

    url: str
    process: subprocess.Popen[str]

    def post(self, path: str, **body: Any) -> Any:
        """Ask the API; while its database is busy it says so, and is asked again, as Prefect's own client does."""

        def answered() -> httpx.Response | None:
            answer = httpx.post(f"{self.url}/api/{path}", json=body, timeout=30)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        answer = until(answered, BUSY_SECONDS)
        assert answer.is_success, answer.text
        return answer.json()

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by ``flow/deployment``."""
        return httpx.get(f"{self.url}/api/deployments/name/{name}", timeout=30).raise_for_status().json()

    def start(self, flow: str, **parameters: Any) -> str:
        """Start a run of a deployment; returns its id."""
        run = self.post(
            f"deployments/{self.deployment(f'{flow}/default')['id']}/create_flow_run",
            parameters=parameters,
            enforce_parameter_schema=True,
        )
        return run["id"]

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """All runs of a flow, oldest first."""
        found = self.post("flow_runs/filter", flows={"name": {"any_": [flow]}}, sort="EXPECTED_START_TIME_ASC")
        return [run for run in found if run["state"]["type"] != "SCHEDULED" or run["auto_scheduled"] is False]

    def finished(self, run: str, seconds: float = 180) -> dict[str, Any]:
        """A run, once it has ended."""

        def ended() -> dict[str, Any] | None:
            found = httpx.get(f"{self.url}/api/flow_runs/{run}", timeout=30).raise_for_status().json()
            return found if found["state"]["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

        return until(ended, seconds)


@contextmanager
def served(project: Path, code: Path = ROOT) -> Generator[Server]:
    """Run ``python -m flows.serve --with-server`` of `code` for `project`, as ``make ui`` does."""
    port = processes.free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"RECLOOP_ROOT": str(project), "PREFECT_HOME": str(project / ".prefect")}
    log = project / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.serve", "--with-server", "--port", str(port)],
            cwd=code,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    server = Server(url=f"http://127.0.0.1:{port}", process=process)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{server.url}/api/deployments/name/{LAST}/default", timeout=30).is_success
            except httpx.TransportError:
                return False

        until(ready, START_SECONDS)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A server with an empty database, which flows called in the test report to."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
