"""How long a worker reads before its histories are those of the store, and what that holds in memory.

    python -m benchmarks.live_histories                      a million events
    python -m benchmarks.live_histories --events 2000000

A worker that starts reads every event since the oldest served bundle was packaged; until it has read one, it answers by
what the bundle holds. Here the bundle is older than all events of an SQLite store, which are those of 200,000 people.
Reported are the seconds until the last event was read, beside the seconds that reading the same events from the store
and doing nothing with them takes, the memory that the process has grown by, and the microseconds that asking for one
person's events takes then. Results go to `benchmarks/live_histories.json`.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from benchmarks.published.protocols import ROOT
from benchmarks.store_scale import PEOPLE, fill
from recloop.serving.live import LiveHistories
from recloop.store import Event, Store

RESULTS = ROOT / "benchmarks" / "live_histories.json"
ASKED = 10_000


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_histories")
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'recloop.sqlite'}"
        fill(url, options.events)
        record = measure(url)
    record |= {"events": options.events, "people": PEOPLE, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1, sort_keys=True))


def measure(url: str) -> dict[str, Any]:
    """All figures, of a store that is filled."""
    with Store.open(url) as store:
        event = Event(event_id="newest", user_id="newest", item_id="i0", event="click", timestamp=1_600_000_000_000_000)
        store.add_events([event])
        started = time.perf_counter()
        rows = sum(frame.height for frame in store.events_after(0))
        read = time.perf_counter() - started
    process = psutil.Process()
    before, started = process.memory_info().rss, time.perf_counter()
    live = LiveHistories(lambda: Store.open(url))
    live.reach([0])
    while not live.since("newest", 0):
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    grown = process.memory_info().rss - before
    times: list[float] = []
    for number in range(ASKED):
        started = time.perf_counter()
        live.since(f"u{number * PEOPLE // ASKED}", 0)
        times.append((time.perf_counter() - started) * 1e6)
    live.close()
    return {
        "seconds": round(seconds, 2),
        "seconds_of_reading_alone": round(read, 2),
        "events_per_second": round(rows / seconds),
        "grown_mib": round(grown / (1 << 20)),
        "ask_microseconds_p50": round(median(times), 2),
        "ask_microseconds_p95": round(quantiles(times, n=20)[-1], 2),
    }


if __name__ == "__main__":
    main()
