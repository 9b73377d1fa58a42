"""Events a second that `POST /feedback` acknowledges, each committed before, beside SQLite alone.

    python -m benchmarks.serving.feedback
    python -m benchmarks.serving.feedback --seconds 10 --batch 50

Two workers of the service write to one SQLite file; wrk sends batches of new events over 16 connections. Then the same
batches are inserted by one process with nothing but the `sqlite3` module, into a table of the same columns and keys, a
transaction a batch, at the same durability (write-ahead log, `synchronous=FULL`). At last a third of the batches is
sent again: all are duplicates. Results go to `benchmarks/serving/feedback.json`.
"""

import argparse
import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.published.protocols import ROOT
from benchmarks.serving.bundles import bundle, movielens
from benchmarks.serving.load import peak
from benchmarks.serving.recommend import CONNECTIONS, WORKERS, served
from recloop.store import Store
from recloop.store.connection import connect
from recloop.store.schema import EVENTS

RESULTS = ROOT / "benchmarks" / "serving" / "feedback.json"
START = 1_700_000_000


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.feedback")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--batch", type=int, default=50, help="events in one request")
    options = parser.parse_args()
    record: dict[str, Any] = {"cores": os.cpu_count(), "workers": WORKERS, "connections": CONNECTIONS}
    record |= {"batch": options.batch, "seconds": options.seconds, "load": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packaged = bundle(folder / "bundle", "popularity", movielens())
        record["sqlite_before"] = alone(folder / "before.sqlite", options.batch, options.seconds / 3)
        url = f"sqlite:///{folder / 'store.sqlite'}"
        bodies = [body(number, options.batch) for number in range(round(40_000 / options.batch * options.seconds))]
        with served("recloop", ".", folder, {"RECLOOP_BUNDLE": str(packaged), "RECLOOP_DATABASE_URL": url}) as at:
            sent = peak(f"{at}/feedback", bodies, seconds=options.seconds, connections=CONNECTIONS)
            time.sleep(1)  # until what was under way at the end is stored
            with Store.open(url) as store:
                stored = store.count_events()
            again = peak(
                f"{at}/feedback", bodies[: len(bodies) // 50], seconds=options.seconds / 3, connections=CONNECTIONS
            )
            with Store.open(url) as store:
                after = store.count_events()
        record["service"] = sent | {"events_per_second": round(stored / options.seconds)}
        record["duplicates"] = again | {
            "events_per_second": round(again["requests_per_second"] * options.batch),
            "stored": after - stored,
        }
        record["sqlite_after"] = alone(folder / "after.sqlite", options.batch, options.seconds / 3)
    raw = (record["sqlite_before"] + record["sqlite_after"]) / 2
    record["ratio"] = round(record["service"]["events_per_second"] / raw, 3)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


def body(number: int, size: int) -> str:
    """A request with events that no other one has."""
    events = [
        {
            "event_id": f"event-{number}-{place}",
            "user_id": f"u{(number * size + place) % 6040}",
            "item_id": f"i{place}",
            "event": "click",
            "timestamp": START + number,
        }
        for place in range(size)
    ]
    return json.dumps({"events": events}, separators=(",", ":"))


def alone(path: Path, size: int, seconds: float) -> int:
    """Events a second that SQLite itself commits."""
    connect(f"sqlite:///{path}").dispose()
    names = [column.name for column in EVENTS.columns if column.name != "seq"]
    places = ", ".join("?" * len(names))
    insert = f"INSERT INTO events ({', '.join(names)}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    number, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        moment = (START + number) * 1_000_000
        rows = [
            (
                f"event-{number}-{place}",
                f"u{(number * size + place) % 6040}",
                f"i{place}",
                "click",
                None,
                None,
                moment,
                moment,
            )
            for place in range(size)
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows)
        connection.execute("COMMIT")
        number += 1
    connection.close()
    return round(number * size / (time.perf_counter() - begun))


if __name__ == "__main__":
    main()
