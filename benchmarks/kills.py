"""Kill -9 at random moments under load: is every acknowledged event there once, and who is in charge?

    python -m benchmarks.kills                    a hundred kills
    python -m benchmarks.kills --kills 10

A scratch project has two bundles, a PostgreSQL of its own and a service. Four clients send feedback,
each batch again and again until it is acknowledged. Meanwhile, at random moments, one of these dies by SIGKILL: the
service with its workers; the database; a command that takes feedback into the data, or one that changes the champion.
What was killed is started again. After each kill the traffic plan in the store must name a champion whose bundle is
whole. At the end the commands are run once more, without a kill, and every event that was ever acknowledged must be in
the store exactly once and in the data exactly once. PostgreSQL comes from the system (`initdb` and `pg_ctl`). Results
go to `benchmarks/kills.json`.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil
import torch

from benchmarks.published.protocols import ROOT
from recloop import models, processes
from recloop.data.bundles import verify
from recloop.data.tables import Attributes, read_tables
from recloop.data.vocabulary import Vocabulary
from recloop.models.base import FitContext, TrainingData
from recloop.models.storage import Trained
from recloop.serving.bundle import write_bundle
from recloop.store import Store

RESULTS = ROOT / "benchmarks" / "kills.json"
PARAMS = "ingest:\n  source: synthetic\n  synthetic: {users: 60, items: 40, days: 20}\n"
CLIENTS, BATCH = 4, 5
TARGETS = ("service", "database", "ingest", "deploy")
ACCOUNT = "postgres"


class Database:
    """A PostgreSQL cluster in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder, ACCOUNT)
            folder.parent.chmod(0o755)
        self._cluster, self._folder, self.port = folder / "cluster", folder, processes.free_port()
        self._run("initdb", f"--pgdata={self._cluster}", "--username=recloop", "--auth=trust", "--encoding=UTF8")
        self.start()
        self.url = f"postgresql+psycopg://recloop@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, also after a crash, and wait until it answers; what is left of a killed one must end first."""
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        words = ["pg_ctl", f"--pgdata={self._cluster}", "-w", f"--options={options}", "-l", "/dev/null", "start"]
        for _ in range(60):
            with contextlib.suppress(subprocess.CalledProcessError):
                return self._run(*words)
            time.sleep(0.5)
        sys.exit("PostgreSQL did not start again within half a minute.")

    def kill(self) -> None:
        """SIGKILL the server and all that it started."""
        pid = int((self._cluster / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        time.sleep(0.2)

    def stop(self) -> None:
        """End it."""
        self._run("pg_ctl", f"--pgdata={self._cluster}", "--mode=immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
        path = str(found[-1]) if found else shutil.which(program)
        if path is None:
            sys.exit(f"{program} is not there; install the package 'postgresql'.")
        switch = ["runuser", "-u", ACCOUNT, "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*switch, path, *words], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


class Service:
    """`bentoml serve`, in a session of its own."""

    def __init__(self, root: Path, url: str) -> None:
        self._root, self._store, self.port = root, url, processes.free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        scratch = self._root / "bentoml"
        shutil.rmtree(scratch, ignore_errors=True)
        env = os.environ | {"BENTOML_HOME": str(scratch), "BENTOML_DO_NOT_TRACK": "True"}
        env |= {"RECLOOP_ROOT": str(self._root), "RECLOOP_DATABASE_URL": self._store}
        words = ["serve", ".", "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", *words],
            cwd=ROOT,
            env=env,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/readyz", timeout=2).status_code == 200:
                    return
            time.sleep(0.2)
        sys.exit("The service did not become ready within two minutes.")

    def kill(self) -> None:
        """SIGKILL it with all its workers, which have sessions of their own."""
        parent = psutil.Process(self._process.pid)
        for one in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()
        time.sleep(0.2)


class Client(threading.Thread):
    """Sends batches of events, each until it is acknowledged, with a pause in seconds after each."""

    def __init__(self, name: str, address: str, pause: float = 0.0) -> None:
        super().__init__(name=name, daemon=True)
        self._pause = pause
        self._address, self.acknowledged, self.tries, self.ended = address, list[str](), 0, threading.Event()

    def run(self) -> None:
        """Until `ended`, and then to the end of the batch in hand, for half a minute at most."""
        batch = 0
        while not self.ended.is_set():
            ids = [f"{self.name}-{batch}-{place}" for place in range(BATCH)]
            events = [self.event(batch, name) for name in ids]
            late = None
            while late is None or not self.ended.is_set() or time.monotonic() < late:
                late = time.monotonic() + 30 if late is None else late
                self.tries += 1
                with contextlib.suppress(httpx.HTTPError):
                    answer = httpx.post(f"{self._address}/feedback", json={"events": events}, timeout=10)
                    if answer.status_code == 200 and not answer.json()["rejected"]:
                        self.acknowledged += ids
                        break
                time.sleep(0.05)
            batch += 1
            self.ended.wait(self._pause)

    def event(self, batch: int, name: str) -> dict[str, Any]:
        """An event with the id `name`, and with an item of its own, by which it is found in the data."""
        return {"event_id": name, "user_id": self.name, "item_id": name, "event": "click", "timestamp": 1.6e9 + batch}


def main() -> None:
    """Kill, check, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        root.mkdir()
        database = Database(Path(folder) / "database")
        try:
            record = torture(root, database, options.kills, random.Random(options.seed))  # noqa: S311 - moments, not secrets
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                database.stop()
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1, sort_keys=True))


def torture(root: Path, database: Database, kills: int, rng: random.Random) -> dict[str, Any]:
    """All of it, in an empty folder and an empty database."""
    bundles = prepare(root, database.url)
    service = Service(root, database.url)
    clients = [Client(f"client{number}", service.address) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    killed, invalid, seconds = Counter[str](), 0, time.perf_counter()
    for number in range(kills):
        time.sleep(rng.uniform(0.2, 1.5))
        target = rng.choice(TARGETS)
        killed[target] += 1
        if target in {"service", "database"}:
            victim = service if target == "service" else database
            victim.kill()
            victim.start()
        else:
            words = ["ingest", "--source", "feedback"] if target == "ingest" else ["promote"]
            if target == "deploy":
                put(root, bundles[number % 2])
            process = start(root, database.url, words)
            time.sleep(rng.uniform(0.3, 3.0))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        invalid += not in_charge(root, database.url)
        print(f"kill {number + 1}: {target}", flush=True)
    seconds = time.perf_counter() - seconds
    for client in clients:
        client.ended.set()
    for client in clients:
        client.join()
    for words in (["promote"], ["ingest", "--source", "feedback"]):
        if start(root, database.url, words).wait():
            sys.exit(f"'recloop {' '.join(words)}' failed after the kills; its own message above says why.")
    service.kill()
    acknowledged = [name for client in clients for name in client.acknowledged]
    return {
        "kills": dict(sorted(killed.items())),
        "seconds": round(seconds),
        "acknowledged": len(acknowledged),
        "requests": sum(client.tries for client in clients),
        "champion_invalid": invalid,
        "store": account(acknowledged, stored(database.url)),
        "data": account(acknowledged, read_tables(root / "data").interactions["item_id"].to_list()),
    }


def prepare(root: Path, url: str) -> list[Path]:
    """A project with data and a champion; the folders of two bundles."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True)
    (root / "params.yaml").write_text(PARAMS, encoding="utf-8")
    if start(root, url, ["ingest"]).wait():
        sys.exit("'recloop ingest' failed; its own message above says why.")
    interactions = read_tables(root / "data").interactions
    catalogue = Vocabulary(interactions["item_id"])
    folders: list[Path] = []
    for name in ("popularity", "cooccurrence"):
        kind = models.find(name)
        model = kind(kind.Config(), len(catalogue))
        data = TrainingData.from_tables(interactions, catalogue, Attributes())
        model.fit(data, FitContext(device=torch.device("cpu")))
        folders.append(root / name)
        window = [str(interactions["timestamp"].min()), str(interactions["timestamp"].max())]
        record = {"data": {"hash": "", "train_window": window}}
        write_bundle(
            folders[-1], trained=Trained(model=model, vocabulary=catalogue), interactions=interactions, record=record
        )
    put(root, folders[0])
    if start(root, url, ["promote"]).wait():
        sys.exit("'recloop promote' failed; its own message above says why.")
    return folders


def put(root: Path, bundle: Path) -> None:
    """Make a bundle the packaged one, as the stage `package` does: in one step."""
    target, fresh = root / "artifacts/bundle", root / "artifacts/fresh"
    shutil.copytree(bundle, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def start(root: Path, url: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """A `recloop` command in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "recloop.cli", *words],
        cwd=root,
        env=os.environ | {"RECLOOP_DATABASE_URL": url},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )


def in_charge(root: Path, url: str) -> bool:
    """Whether the store names a champion whose bundle is whole."""
    with Store.open(url) as store:
        champion = store.traffic().champion
    return champion is not None and verify(root / "artifacts/bundles" / champion.bundle)["id"] == champion.bundle


def stored(url: str) -> list[str]:
    """The ids of all events of the store."""
    with Store.open(url) as store:
        return pl.concat(list(store.events_after(0)))["event_id"].to_list()


def account(acknowledged: Sequence[str], found: Sequence[str]) -> dict[str, int]:
    """How many acknowledged events are missing, and how many are there more than once."""
    counts = Counter(found)
    return {
        "missing": sum(not counts[name] for name in acknowledged),
        "repeated": sum(counts[name] > 1 for name in acknowledged),
    }


if __name__ == "__main__":
    main()
