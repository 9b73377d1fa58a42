"""What logging and attributing slates costs.

    python -m benchmarks.exposures log               in an SQLite file of the temporary folder
    python -m benchmarks.exposures log --url URL     in another store, which keeps what is written
    python -m benchmarks.exposures attribute --events 10000000

`log` tells how long `put` keeps a request, and how long a commit of 500 slates of ten takes. `attribute` makes events
on a third as many slates of ten, in frames, and tells seconds, peak resident memory of the process, and disk.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.loop.attribution import AttributionConfig, attribute
from recloop.serving.exposures import ExposureLog
from recloop.store import Exposure, Slate, Store
from recloop.store.events import SCHEMA
from recloop.store.slates import PLACES

PLACES_A_SLATE = 10
SLATES_A_COMMIT = 500
COMMITS = 20
PUTS = 5_000
PEOPLE = 200_000
ROWS = 100_000
DAY = 86_400_000_000
START = 1_700_000_000_000_000
ITEMS = [f"item-{number}" for number in range(PLACES_A_SLATE)]
SCORES = [0.5] * PLACES_A_SLATE


def log(url: str) -> None:
    """Time commits, then puts."""
    with Store.open(url) as store:
        seconds: list[float] = []
        for _ in range(COMMITS):
            slates = _slates()
            started = time.perf_counter()
            store.add_slates(slates)
            seconds.append(time.perf_counter() - started)
    print(
        f"commit of {SLATES_A_COMMIT} slates: median {1e3 * _share(seconds, 0.5):.0f} ms, "
        f"95% within {1e3 * _share(seconds, 0.95):.0f} ms"
    )
    exposures = ExposureLog(lambda: Store.open(url))
    seconds = []
    for _ in range(PUTS):
        one = Exposure(request_id=str(uuid4()), timestamp=START, bundle="b", policy="top_n", items=ITEMS, scores=SCORES)
        started = time.perf_counter()
        exposures.put(one)
        seconds.append(time.perf_counter() - started)
        time.sleep(0.0005)
    print(f"put: median {1e6 * _share(seconds, 0.5):.1f} us, 99% within {1e6 * _share(seconds, 0.99):.1f} us")
    print(exposures.close())


def measure_attribution(events: int) -> None:
    """Attribute once."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = attribute(
            events=_events(events),
            impressions=_impressions(events // 3),
            config=AttributionConfig(),
            now=START + 40 * DAY,
            scratch=Path(folder),
        )
        rows = sum(frame.height for frame in outcome.frames())
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(outcome.account)
    print(
        f"{events:,} events on {rows:,} impressions: {time.perf_counter() - started:.0f} s, "
        f"peak {peak / 2**20:.2f} GiB, disk {disk / 2**30:.2f} GiB"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("log").add_argument("--url")
    commands.add_parser("attribute").add_argument("--events", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.command == "attribute":
        measure_attribution(arguments.events)
        return
    with tempfile.TemporaryDirectory() as folder:
        log(arguments.url or f"sqlite:///{folder}/store.sqlite")


def _slates() -> list[Slate]:
    worker = uuid4().hex
    return [
        Slate(
            request_id=str(uuid4()),
            timestamp=START,
            bundle="9025aa6466345a1d",
            policy="top_n",
            arm="champion",
            worker=worker,
            serial=serial,
            items=ITEMS,
            scores=SCORES,
            propensities=SCORES,
            user_id=f"user-{serial}",
        )
        for serial in range(SLATES_A_COMMIT)
    ]


def _events(events: int) -> Iterator[pl.DataFrame]:
    """Three events a slate in a random place, three tenths of them clicks."""
    rng = np.random.default_rng(0)
    for first in range(0, events, ROWS):
        event = np.arange(first, min(first + ROWS, events))
        slate, position = event // 3, rng.integers(PLACES_A_SLATE, size=len(event))
        yield pl.DataFrame(
            {
                "seq": event + 1,
                "event_id": event,
                "user_id": slate % PEOPLE,
                "item_id": _item(slate, position),
                "event": np.where(rng.random(len(event)) < 0.3, "click", "view"),
                "value": None,
                "request_id": _request(slate),
                "timestamp": _moment(slate, events // 3) + rng.integers(1, 100_000_000, size=len(event)),
                "received": event,
            }
        ).cast(dict(SCHEMA))  # pyright: ignore[reportArgumentType]


def _impressions(slates: int) -> Iterator[pl.DataFrame]:
    for first in range(0, slates, ROWS // PLACES_A_SLATE):
        some = np.arange(first, min(first + ROWS // PLACES_A_SLATE, slates))
        slate, position = np.repeat(some, PLACES_A_SLATE), np.tile(np.arange(PLACES_A_SLATE), len(some))
        yield pl.DataFrame(
            {
                "seq": slate + 1,
                "request_id": _request(slate),
                "position": position,
                "user_id": slate % PEOPLE,
                "item_id": _item(slate, position),
                "score": 0.5,
                "propensity": 1.0,
                "policy": "top_n",
                "bundle": "9025aa6466345a1d",
                "arm": "champion",
                "timestamp": _moment(slate, slates),
            }
        ).cast(dict(PLACES))  # pyright: ignore[reportArgumentType]


def _item(slate: NDArray[np.int64], position: NDArray[np.int64]) -> NDArray[np.int64]:
    return (7 * slate + 13 * position) % 5_000


def _moment(slate: NDArray[np.int64], slates: int) -> NDArray[np.int64]:
    return START + slate * (30 * DAY // max(1, slates))


def _request(slate: NDArray[np.int64]) -> pl.Series:
    """Ids as long as UUIDs, and as scattered."""
    return pl.Series(slate * 2_654_435_761 % (1 << 32)).cast(pl.String) + "-" + pl.Series(slate).cast(pl.String) + _TAIL


_TAIL = "-0000-000000000000"


def _share(seconds: list[float], share: float) -> float:
    return float(np.quantile(seconds, share))


if __name__ == "__main__":
    main()
