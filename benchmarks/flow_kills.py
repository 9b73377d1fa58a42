"""Kill -9 of flows at random moments under load: does the loop go on by itself, and is every event there once?

    python -m benchmarks.flow_kills                    a hundred kills
    python -m benchmarks.flow_kills --kills 10

A scratch project has real stages, an SQLite store, a service, and its flows as `python -m flows.serve --with-server`
runs them. Clients send feedback, each batch again and again until it is acknowledged. Again and again a flow is started
through Prefect's API, and at a random moment one of these dies by SIGKILL: the flow's own process, the process that
serves the flows (it is then started again, as a service manager would), or Prefect's server. After each kill

- the store must name a champion whose bundle is whole,
- Prefect must know within a minute that the run has ended (it may also have ended before),
- nothing of the run may be left: the next one starts while nobody tidies up.

At the end the clients stop and a retraining is cut short once more. Then nobody asks for anything: a run of `monitor`,
as the schedule starts it, must take in the feedback, find that the last retraining was cut short, and have Prefect
start another, which must end well. Every event that was ever acknowledged must be in the store exactly once and in the
data exactly once. Results go to `benchmarks/flow_kills.json`.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from benchmarks.kills import Client, Service, account, in_charge, stored
from benchmarks.published.protocols import ROOT
from recloop import processes
from recloop.data.tables import read_tables
from recloop.loop.decision import BEGUN, RETRAIN
from recloop.simulation import project
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World
from recloop.store import Decision, Store

RESULTS = ROOT / "benchmarks" / "flow_kills.json"
CLIENTS, PAUSE_SECONDS = 2, 0.25
RUNNER, SERVER = "flows.serve", "Prefect server"
MOMENTS = {"ingest": 8.0, "monitor": 30.0, "retrain": 60.0, "deploy": 5.0, RUNNER: 45.0, SERVER: 45.0}
"""What dies, and within how many seconds after its run began; of the last two it is a run of `retrain`."""
PARAMS = {
    **project.TASTES,
    "train": project.TASTES["train"] | {"models": ["popularity", "ease"]},
    "monitor": {"min_new_events": 1_000_000, "cooldown_hours": 0, "on_drift": "ignore", "min_unknown_share": 1.0},
}
BUSY = 503
START_SECONDS, RUN_SECONDS, ENDED_SECONDS = 240.0, 900.0, 60.0
ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})

T = TypeVar("T")


class Flows:
    """`python -m flows.serve --with-server` for a project, on one port."""

    def __init__(self, root: Path, code: Path) -> None:
        self._root, self._code, self._port = root, code, processes.free_port()
        self._api = httpx.Client(base_url=f"http://{processes.LOCALHOST}:{self._port}/api", timeout=60)
        self.start()

    def start(self) -> None:
        """Start it and wait until a run can be started."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        env |= {"RECLOOP_ROOT": str(self._root), "PREFECT_HOME": str(self._root / ".prefect")}
        words = ["--with-server", "--port", str(self._port)]
        with (self._root / "flows.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.serve", *words],
                cwd=self._code,
                env=processes.environment(env),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._served = until(self._deployments, START_SECONDS, "the flows to be served")

    def kill(self) -> None:
        """SIGKILL the process that serves the flows; what it started is told by nobody but the system."""
        self.process.kill()
        self.process.wait()

    def kill_server(self) -> None:
        """SIGKILL Prefect's server."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            if {"prefect", "server", "start"} <= set(process.cmdline()[:6]) and "-S" not in process.cmdline():
                process.kill()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def begin(self, flow: str, **parameters: Any) -> str:
        """Start a run of a flow; its id."""
        return self._ask("POST", f"/deployments/{self._served[flow]}/create_flow_run", parameters=parameters)["id"]

    def kind(self, run: str) -> str:
        """The kind of a run's state."""
        return self._ask("GET", f"/flow_runs/{run}")["state"]["type"]

    def ended(self, run: str, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """The state in which a run ended."""

        def state() -> dict[str, Any] | None:
            found = self._ask("GET", f"/flow_runs/{run}")["state"]
            return found if found["type"] in ENDED else None

        return until(state, seconds, f"the run {run} to end")

    def pid(self, run: str) -> int | None:
        """The process of a run, if it is there."""
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                    return process.pid
        return None

    def _deployments(self) -> dict[str, str] | None:
        """Ids of the deployments by flow, once all are there."""
        if self.process.poll() is not None:
            sys.exit(f"The flows are not served; {self._root / 'flows.log'} says why.")
        names = ("ingest", "train", "monitor", "retrain", "deploy", "canary-review", "tune")
        with contextlib.suppress(httpx.HTTPError):
            found = {name: self._api.get(f"/deployments/name/{name}/default") for name in names}
            if all(answer.is_success for answer in found.values()):
                return {name: answer.json()["id"] for name, answer in found.items()}
        return None

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        """What the API answers; it is asked again while it is away or busy."""

        def answered() -> httpx.Response | None:
            with contextlib.suppress(httpx.TransportError):
                answer = self._api.request(method, path, json=body or None)
                return None if answer.status_code == BUSY else answer
            return None

        answer = until(answered, ENDED_SECONDS, f"an answer to {path}")
        assert answer.is_success, answer.text
        return answer.json()


class Person(Client):
    """Sends events of somebody new each, by which they are found in the data."""

    def event(self, batch: int, name: str) -> dict[str, Any]:
        """An event of now, with one of thirty items."""
        item = f"i{batch % 30:06d}"
        return {"event_id": name, "user_id": name, "item_id": item, "event": "click", "timestamp": time.time()}


def until(probe: Callable[[], T | None], seconds: float, what: str) -> T:
    """What `probe` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := probe()) is not None:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"Waited {seconds:g} seconds for {what} in vain.")


def main() -> None:
    """Kill, check, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flow_kills")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        nowhere = SourceContext(root=Path(folder), data=Path(folder) / "data", cache=Path(folder))
        past = World(Config(users=150, items=60)).tables(nowhere)
        root = project.make(ROOT, Path(folder) / "project", past, PARAMS)
        flows = Flows(root, root)
        try:
            for flow, parameters in {"train": {"source": "files"}, "deploy": {"action": "promote"}}.items():
                state = flows.ended(flows.begin(flow, **parameters))
                if state["type"] != "COMPLETED":
                    sys.exit(f"The flow {flow} failed: {state['message']}")
            rng = random.Random(options.seed)  # noqa: S311 - moments, not secrets
            record = torture(root, flows, options.kills, rng, MOMENTS)
        finally:
            flows.stop()
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1, sort_keys=True))


def torture(root: Path, flows: Flows, kills: int, rng: random.Random, moments: Mapping[str, float]) -> dict[str, Any]:
    """Kill and check.

    Args:
        root: a project with a champion, in whose rules a retraining has no cooldown.
        flows: its flows.
        kills: how many; each target of `moments` in turn, in an order drawn anew for each round.
        rng: of moments and orders.
        moments: see `MOMENTS`.
    """
    url = f"sqlite:///{root / 'recloop.sqlite'}"
    service = Service(root, url)
    clients = [Person(f"client{number}", service.address, pause=PAUSE_SECONDS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    killed, states, invalid, seconds = Counter[str](), Counter[str](), 0, time.perf_counter()
    targets: list[str] = []
    try:
        for number in range(kills):
            targets = targets or rng.sample(sorted(moments), len(moments))
            target = targets.pop()
            state = kill(flows, target, rng.uniform(0, moments[target]))
            killed[target] += 1
            states[state] += 1
            invalid += not in_charge(root, url)
            print(f"kill {number + 1}: {target}, the run is {state}", flush=True)
    finally:
        for client in clients:
            client.ended.set()
        for client in clients:
            client.join()
        service.kill()
    seconds = time.perf_counter() - seconds
    cut = retrainings(url)
    resumed = resume(flows, url)
    acknowledged = [name for client in clients for name in client.acknowledged]
    return {
        "kills": dict(sorted(killed.items())),
        "runs": dict(sorted(states.items())),
        "retrainings": cut,
        "resumed": resumed,
        "seconds": round(seconds),
        "acknowledged": len(acknowledged),
        "champion_invalid": invalid,
        "store": account(acknowledged, stored(url)),
        "data": account(acknowledged, read_tables(root / "data").interactions["user_id"].to_list()),
    }


def kill(flows: Flows, target: str, moment: float) -> str:
    """Start a run, kill the target `moment` seconds after its process began; the state in which the run ends."""
    flow = "retrain" if target in {RUNNER, SERVER} else target
    parameters = {"ingest": {"source": "feedback"}, "deploy": {"action": "promote"}}.get(flow, {})
    run = flows.begin(flow, **parameters)
    pid = until(lambda: flows.pid(run), ENDED_SECONDS, f"the process of {flow}")
    time.sleep(moment)
    if target == RUNNER:
        flows.kill()
        flows.start()
    elif target == SERVER:
        flows.kill_server()
        return flows.ended(run)["type"].lower()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return flows.ended(run, ENDED_SECONDS)["type"].lower()


def retrainings(url: str) -> dict[str, int]:
    """How many were begun, and how many of them came to which end."""
    with Store.open(url) as store:
        return dict(Counter(row.verdict for row in store.decisions(limit=100_000, kind=RETRAIN)))


def resume(flows: Flows, url: str) -> str:
    """Cut a retraining short; how the one ends that the schedule's next look leads to, without anybody else's doing."""
    with Store.open(url) as store:

        def last() -> Decision | None:
            return next(iter(store.decisions(limit=1, kind=RETRAIN)), None)

        before = last()
        run = flows.begin("retrain")
        until(lambda: last() != before or None, RUN_SECONDS, "a retraining to begin")
        os.kill(until(lambda: flows.pid(run), ENDED_SECONDS, "its process"), signal.SIGKILL)
        assert flows.ended(run, ENDED_SECONDS)["type"] == "CRASHED"
        cut = last()
        assert cut is not None
        assert cut.verdict == BEGUN
        looked = flows.ended(flows.begin("monitor"))
        assert looked["message"].endswith("The last retraining was cut short, so what it was for is not done.")

        def verdict() -> str | None:
            row = last()
            return row.verdict if row and row.seq > cut.seq and row.verdict != BEGUN else None

        return until(verdict, RUN_SECONDS, "the retraining that makes up for it")


if __name__ == "__main__":
    main()
