"""What `make ui` starts: a real server, every flow registered, the schedule, the trigger, and an orderly end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from flows import server
from recloop.errors import RecloopError
from tests.flows import scratch
from tests.flows.test_monitor import fill
from tests.support.prefect_server import ROOT, Server, served
from tests.support.waiting import until


def test_a_taken_port_is_one_sentence(tmp_path: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RecloopError) as caught, server.running(tmp_path, port, {}):
            pass
    assert str(caught.value) == f"Port {port} is taken or not allowed; choose another one with --port."
    assert not (tmp_path / ".prefect").exists()


@pytest.mark.integration
@pytest.mark.slow
def test_a_server_that_is_killed_is_started_again(tmp_path: Path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with server.running(tmp_path, 0, env) as api:
        killed = _servers(tmp_path)
        for process in killed:
            process.kill()
        until(lambda: _servers(tmp_path) and _answers(f"{api}/health"), 120)
        assert {process.pid for process in _servers(tmp_path)}.isdisjoint(process.pid for process in killed)
    assert _servers(tmp_path) == []


def _servers(home: Path) -> list[psutil.Process]:
    """Prefect servers whose files lie in `home`, started by this process."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "server" in words and "-S" not in words and str(home) in process.environ().get("PREFECT_HOME", ""):
                found.append(process)
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def test_the_page_of_an_api():
    assert server.page("http://127.0.0.1:4200/api") == "http://127.0.0.1:4200"


def serve(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "flows.serve", *words]
    return subprocess.run(command, cwd=ROOT, env=clean | env, capture_output=True, text=True, check=False, timeout=60)


def test_without_any_server_it_says_what_to_do():
    done = serve()
    assert done.returncode == 2
    assert done.stderr == ("error: PREFECT_API_URL is not set; set it to a server's address, or add --with-server.\n")


def test_outside_a_project_it_says_so(tmp_path: Path):
    done = serve("--with-server", RECLOOP_ROOT=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path} is not a DVC project; run in the project's root or name it in RECLOOP_ROOT.\n"
    )


@pytest.mark.integration
@pytest.mark.slow
class TestServing:
    @pytest.fixture(scope="class")
    def project(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return scratch.make(tmp_path_factory.mktemp("serving") / "project")

    @pytest.fixture(scope="class")
    def serving(self, project: Path) -> Iterator[Server]:
        with served(project) as running:
            yield running

    def test_every_flow_is_registered_with_its_form(self, serving: Server):
        for flow in ("ingest", "train", "monitor", "retrain", "deploy", "canary-review", "canary-guard", "tune"):
            deployment = serving.deployment(f"{flow}/default")
            assert deployment["enforce_parameter_schema"]
            assert deployment["description"]
            assert "Args:" not in deployment["description"]
        form = serving.deployment("train/default")["parameter_openapi_schema"]
        assert "ease" in form["definitions"]["ModelName"]["enum"]

    def test_a_value_out_of_bounds_is_refused_by_the_form(self, serving: Server):
        train = serving.deployment("train/default")["id"]
        answer = httpx.post(
            f"{serving.url}/api/deployments/{train}/create_flow_run", json={"parameters": {"test_fraction": 1.5}}
        )
        assert answer.status_code == 409
        assert "test_fraction" in answer.text

    def test_monitor_is_scheduled_every_day(self, serving: Server):
        (schedule,) = serving.deployment("monitor/default")["schedules"]
        assert schedule["active"]
        assert schedule["schedule"]["cron"] == "0 5 * * *"

        def planned() -> bool:
            runs = serving.post("flow_runs/filter", flows={"name": {"any_": ["monitor"]}})
            return any(run["state"]["type"] == "SCHEDULED" and run["auto_scheduled"] for run in runs)

        assert until(planned, 90)

    def test_monitor_starts_retrain_by_an_event(self, serving: Server, project: Path):
        fill(project, 3)
        run = serving.finished(serving.start("monitor"))
        assert run["state"]["message"].startswith("retrain: 3 new events, at least 3.")
        retrain = until(lambda: serving.runs("retrain"), 90)[0]
        ended = serving.finished(retrain["id"])
        assert ended["state"]["type"] == "COMPLETED", ended["state"]["message"]
        assert "is in charge now." in ended["state"]["message"]
        assert (project / "data/interactions/feedback-1-3.parquet").exists()
        assert scratch.dvc(project, "status") == "Data and pipelines are up to date.\n"

    def test_a_cancelled_run_stops_its_stage_and_frees_the_project(self, serving: Server, project: Path):
        params = project / "params.yaml"
        params.write_text(params.read_text().replace("seconds: 0", "seconds: 60"))
        run = serving.start("train")
        until(lambda: "train@popularity" in scratch.runs(project)[-1:], 120)
        serving.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
        assert serving.finished(run)["state"]["type"] == "CANCELLED"
        params.write_text(params.read_text().replace("seconds: 60", "seconds: 0"))
        again = serving.finished(serving.start("train"))
        assert again["state"]["type"] == "COMPLETED", again["state"]["message"]

    def test_nothing_was_logged_as_an_error_by_the_server(self, serving: Server, project: Path):
        log = (project / ".prefect/server.log").read_text()
        assert "Traceback" not in log, log


@pytest.mark.integration
@pytest.mark.slow
def test_stopping_it_stops_all_that_it_started(tmp_path: Path):
    project = scratch.make(tmp_path / "project")
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("seconds: 0", "seconds: 300"))
    with served(project) as running:
        running.start("train")
        until(lambda: "train@popularity" in scratch.runs(project), 120)
        group = running.process.pid
        os.kill(group, signal.SIGTERM)
        running.process.wait(60)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{running.url}/api/health")
    deadline = time.monotonic() + 30
    while left := _processes_in(project):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def _processes_in(project: Path) -> list[str]:
    """Command lines of the processes that work in the project, or were started for it."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if words and f"RECLOOP_ROOT={project}".encode() in environment:
            found.append(words.replace(b"\0", b" ").decode())
    return found
