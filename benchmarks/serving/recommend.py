"""Requests a second and milliseconds of `POST /recommend`, beside endpoints that only give a constant answer.

    python -m benchmarks.serving.recommend
    python -m benchmarks.serving.recommend --models ease --events 0 --seconds 10

Bundles of MovieLens-1M are served by `bentoml serve` with two workers; 6,040 known people ask in turn for ten items.
The store holds events of them that are newer than the bundle, which every worker has read before the load begins, and
takes the slates. Measured at peak by wrk with 16 connections; then at half of that rate, sent at fixed moments. The
references, a stock `@bentoml.api` and a bare uvicorn, both with two workers, are measured before and after. Results go
to `benchmarks/serving/recommend.json`, or to `--out`.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import psutil
from sqlalchemy import insert

from benchmarks.published.protocols import ROOT
from benchmarks.serving.bundles import bundle, movielens
from benchmarks.serving.load import peak, steady
from recloop import processes
from recloop.columns import ITEM, USER
from recloop.store import Store
from recloop.store.connection import connect, writing
from recloop.store.schema import EVENTS

RESULTS = ROOT / "benchmarks" / "serving" / "recommend.json"
CONNECTIONS = 16
START_SECONDS = 120
WORKERS = 2
LEARNS = {"policy": "thompson"}


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.recommend")
    parser.add_argument("--models", nargs="+", default=["ease", "sasrec"])
    parser.add_argument("--events", type=int, default=1_000_000, help="newer than the bundle, in the store")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--cache", type=int, help="people whose candidates are kept; by default that of `serve.cache`")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    record: dict[str, Any] = {"cores": os.cpu_count(), "workers": WORKERS, "connections": CONNECTIONS}
    record |= {"events": options.events, "seconds": options.seconds, "load": round(os.getloadavg()[0], 1), "rows": []}
    with tempfile.TemporaryDirectory() as name:
        folder, interactions = Path(name), movielens()
        people = interactions[USER].unique().sort().to_list()
        bodies = [json.dumps({"user_id": user, "k": 10}) for user in np.random.default_rng(0).permutation(people)]
        record["before"] = references(folder, bodies, options.seconds / 2)
        kept: dict[str, Any] = {} if options.cache is None else {"cache": options.cache}
        plans = [(model, kept, events) for model in options.models for events in sorted({0, options.events})]
        plans += [(model, LEARNS | kept, options.events) for model in options.models[:1]]
        for number, (model, serve, events) in enumerate(plans):
            row = {"model": model, "policy": serve.get("policy", "top_n"), "events": events}
            home = folder / str(number)
            home.mkdir()
            packaged = bundle(home / "bundle", model, interactions, serve)
            url = f"sqlite:///{home / 'store.sqlite'}"
            fill(url, interactions, events)
            env = {"RECLOOP_BUNDLE": str(packaged), "RECLOOP_DATABASE_URL": url}
            with served("recloop", ".", home, env) as at:
                record["rows"].append(row | measure(f"{at}/recommend", bodies, options.seconds) | logged(at))
            print(json.dumps(record["rows"][-1]), flush=True)
        record["after"] = references(folder, bodies, options.seconds / 2)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def measure(url: str, bodies: list[str], seconds: float) -> dict[str, Any]:
    """At peak, after a few seconds of load that do not count, and at half of it."""
    peak(url, bodies, seconds=seconds / 4, connections=CONNECTIONS)
    most = peak(url, bodies, seconds=seconds, connections=CONNECTIONS)
    rate = most["requests_per_second"] / 2
    return {"peak": most, "half": steady(url, bodies, seconds=seconds, rate=rate, connections=4 * CONNECTIONS)}


def logged(at: str) -> dict[str, float]:
    """What became of the slates, and how many requests were answered from candidates that had been scored before."""
    time.sleep(3)  # until the log has written what waits
    lines = [line.rpartition(" ") for line in httpx.get(f"{at}/metrics", timeout=30).text.splitlines()]
    samples = {name: float(value) for name, _, value in lines if name.startswith("recloop_")}
    found = {name: samples[f'recloop_slates_total{{outcome="{name}"}}'] for name in ("logged", "dropped")}
    hits, misses = (samples[f'recloop_score_lookups_total{{outcome="{name}"}}'] for name in ("hit", "miss"))
    return found | {"hits": round(hits / (hits + misses), 4)}


def references(folder: Path, bodies: list[str], seconds: float) -> dict[str, Any]:
    """The endpoints that give a constant answer."""
    found: dict[str, Any] = {}
    with served("stock", "benchmarks.serving.reference:Stock", folder, {}) as at:
        found["stock"] = measure(f"{at}/recommend", bodies, seconds)
    port = processes.free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.serving.reference:bare", "--port", str(port)]
    command += ["--workers", str(WORKERS), "--log-level", "warning"]
    with running(command, folder, {}, f"http://127.0.0.1:{port}/") as at:
        found["bare"] = measure(f"{at}/recommend", bodies, seconds)
    print(json.dumps(found), flush=True)
    return found


@contextmanager
def served(name: str, target: str, home: Path, env: dict[str, str]) -> Generator[str]:
    """The address of a BentoML service with two workers."""
    port = processes.free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    env = env | {"BENTOML_HOME": str(home / "bentoml"), "BENTOML_CONFIG_OPTIONS": f"services.{name}.workers={WORKERS}"}
    with running(command, home, env, f"http://127.0.0.1:{port}/readyz") as at:
        yield at


@contextmanager
def running(command: list[str], home: Path, env: dict[str, str], ready: str) -> Generator[str]:
    """The address of a server, once it answers `ready` and all its workers have settled."""
    whole = processes.environment({key: value for key, value in os.environ.items() if not key.startswith("RECLOOP_")})
    log = home / "log"
    with (
        log.open("wb") as output,
        processes.running(command, folder=ROOT, env=whole | env, output=output) as process,
    ):
        if not processes.answers(ready, process, START_SECONDS):
            sys.exit(f"{' '.join(command)} did not answer:\n{log.read_text()[-4000:]}")
        settle(process.pid)
        yield ready.rpartition("/")[0]


def settle(pid: int) -> None:
    """Wait until the processes have nothing left to do: workers that start later, stores that are being read."""
    quiet = 0
    while quiet < 3:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        before = sum(sum(one.cpu_times()[:2]) for one in tree)
        time.sleep(1)
        quiet = quiet + 1 if sum(sum(one.cpu_times()[:2]) for one in tree) - before < 0.15 else 0


def fill(url: str, interactions: pl.DataFrame, events: int) -> None:
    """Put events of these people and items into a new store, all newer than the first, which nobody did."""
    engine = connect(url)
    Store.open(url).close()
    newest = interactions["timestamp"].max()
    assert newest is not None
    moment = int(pl.Series([newest]).cast(pl.Int64)[0])
    drawn = interactions.select(USER, ITEM).sample(events + 1, with_replacement=True, seed=0)
    for first in range(0, events + 1, 50_000):
        part = drawn.slice(first, 50_000)
        rows = [
            {
                "event_id": f"e{first + place}",
                "user_id": user,
                "item_id": item,
                "event": "click",
                "timestamp": moment + first + place,
                "received": moment + first + place,
            }
            for place, (user, item) in enumerate(part.iter_rows())
        ]
        with writing(engine) as connection:
            connection.execute(insert(EVENTS), rows)
    engine.dispose()


if __name__ == "__main__":
    main()
