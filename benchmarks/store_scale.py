"""What a store of ten million events costs: ingesting them, and asking for the status.

    python -m benchmarks.store_scale                        ten million events in SQLite
    python -m benchmarks.store_scale --events 1000000
    python -m benchmarks.store_scale --url URL              in another store, which keeps what is written

In a scratch project `recloop status --json` is asked of an empty store, and the store is filled with the events of
200,000 people on 50,000 items. They are counted twice. Then, each in a process of its own, `recloop ingest --source
feedback` makes immutable files of them and versions these with DVC, `recloop status --json` is asked, and one event
more is ingested. Peak memory is that of the process; seconds are whole commands, the start of Python included. Results
go to `benchmarks/store_scale.json`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert

from benchmarks.published.protocols import ROOT
from recloop.store import Event, Store
from recloop.store.connection import connect, writing
from recloop.store.schema import EVENTS

RESULTS = ROOT / "benchmarks" / "store_scale.json"
PEOPLE, ITEMS = 200_000, 50_000
BATCH = 50_000
START = 1_700_000_000_000_000
PARAMS = "ingest:\n  source: synthetic\n  synthetic: {users: 50, items: 40, days: 10}\n"


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store_scale")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--url", help="the store; by default an SQLite file in a scratch folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        url = options.url or f"sqlite:///{project / 'recloop.sqlite'}"
        record = measure(project, url, options.events)
    record |= {"database": url.partition(":")[0], "events": options.events, "cores": os.cpu_count()}
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1, sort_keys=True))


def measure(project: Path, url: str, events: int) -> dict[str, Any]:
    """All figures, in an empty folder."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=project, check=True)
    (project / "params.yaml").write_text(PARAMS, encoding="utf-8")
    env = os.environ | {"RECLOOP_DATABASE_URL": url}
    run(["ingest"], project, env)
    bare = run(["status", "--json"], project, env)
    filled = fill(url, events)
    with Store.open(url) as store:
        first, again = seconds(store.count_events), seconds(store.count_events)
    taken = run(["ingest", "--source", "feedback"], project, env)
    asked = run(["status", "--json"], project, env)
    with Store.open(url) as store:
        store.add_events([Event(event_id="last", user_id="u", item_id="i", event="click", timestamp=START)])
    more = run(["ingest", "--source", "feedback"], project, env)
    files = sorted((project / "data/interactions").glob("feedback-*.parquet"))
    return {
        "fill_seconds": round(filled, 1),
        "ingest_seconds": taken["seconds"],
        "ingest_events_per_second": round(events / taken["seconds"]),
        "ingest_peak_mib": taken["peak_mib"],
        "first_count_seconds": first,
        "count_seconds": again,
        "status_seconds": asked["seconds"],
        "status_seconds_without_events": bare["seconds"],
        "next_ingest_seconds": more["seconds"],
        "files": len(files),
        "data_mib": round(sum(file.stat().st_size for file in files) / (1 << 20)),
    }


def fill(url: str, events: int) -> float:
    """Write events without looking whether they are known; seconds."""
    rng, engine = np.random.default_rng(0), connect(url)
    started = time.perf_counter()
    for first in range(0, events, BATCH):
        count = min(BATCH, events - first)
        users, items = rng.integers(PEOPLE, size=count), rng.zipf(1.2, size=count) % ITEMS
        rows = [
            {
                "event_id": f"e{number}",
                "user_id": f"u{user}",
                "item_id": f"i{item}",
                "event": "click",
                "timestamp": START + number * 50_000,
                "received": START + number * 50_000,
            }
            for number, user, item in zip(range(first, first + count), users.tolist(), items.tolist(), strict=True)
        ]
        with writing(engine) as connection:
            connection.execute(insert(EVENTS), rows)
    engine.dispose()
    return time.perf_counter() - started


def seconds(ask: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    ask()
    return round(time.perf_counter() - started, 4)


def run(words: list[str], folder: Path, env: dict[str, str]) -> dict[str, float]:
    """Seconds and peak memory of one `recloop` command; ends the program if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "recloop.cli", *words], cwd=folder, env=env, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"'recloop {' '.join(words)}' failed; its own message above says why.")
    return {"seconds": round(seconds, 2), "peak_mib": round(_mib(usage))}


def _mib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1 << 20) if sys.platform == "darwin" else usage.ru_maxrss / (1 << 10)


if __name__ == "__main__":
    main()
