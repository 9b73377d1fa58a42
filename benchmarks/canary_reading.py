"""What a look at a canary costs in a store of a million slates, most of them from before it.

    python -m benchmarks.canary_reading
    python -m benchmarks.canary_reading --slates 100000

In an SQLite file: a champion that served so many slates of ten places before the canary began, and a hundredth of them
since, a third of them clicked. The guardrails' look and the whole review are timed in processes of their own, with all
of the slates in the canary's time and with those alone that were served since it began; seconds are without the start
of Python. Results go to `benchmarks/canary_reading.json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, update

from benchmarks.published.protocols import ROOT
from recloop.loop.canary import CanaryConfig, guard, review
from recloop.store import Store
from recloop.store.connection import connect, writing
from recloop.store.schema import DEPLOYMENTS, EVENTS, SLATES

RESULTS = ROOT / "benchmarks" / "canary_reading.json"
START, SECOND = 1_700_000_000_000_000, 1_000_000
SHARE, BATCH = 0.1, 20_000
SHOWN = {
    "places": 10,
    "items": json.dumps([f"i{place}" for place in range(10)]),
    "scores": json.dumps([0.5] * 10),
}


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.canary_reading")
    parser.add_argument("--slates", type=int, default=1_000_000)
    parser.add_argument("--look", choices=["guard", "review"], help="only look at this store, and say what that cost")
    parser.add_argument("--url")
    options = parser.parse_args()
    if options.look:
        sys.stdout.write(json.dumps(look(options.look, options.url)))
        return
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'store.sqlite'}"
        fill(url, 0, options.slates, "before")
        with Store.open(url, clock=lambda: START + options.slates * SECOND) as store:
            store.deploy("promote", "a", "ease", "First.")
            store.deploy("canary", "b", "als", "Try it.", share=SHARE)
        fill(url, options.slates, options.slates // 100, "since")
        record = {"slates": options.slates, "since the canary began": asked(url)}
        with writing(connect(url)) as connection:
            connection.execute(update(DEPLOYMENTS).values(after_slate=None, after_event=None, timestamp=START))
        record["all"] = asked(url)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


def asked(url: str) -> dict[str, float]:
    """Seconds of both looks, each in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.canary_reading", "--url", url, "--look"]
    return {name: json.loads(subprocess.check_output([*command, name], cwd=ROOT)) for name in ("guard", "review")}


def look(name: str, url: str) -> float:
    """Seconds of one look, which decides nothing."""
    rules = CanaryConfig().model_copy(update={"test": CanaryConfig().test.model_copy(update={"max_days": 10_000})})
    with tempfile.TemporaryDirectory() as root, Store.open(url) as store:
        begun = time.perf_counter()
        found = (guard if name == "guard" else review)(Path(root), store, rules, now=START + 10_000_000 * SECOND)
        seconds = time.perf_counter() - begun
    assert found is None or found.judgement.verdict == "go on", found
    return round(seconds, 2)


def fill(url: str, first: int, count: int, worker: str) -> None:
    """One slate a second of one of 200,000 people; both arms are clicked alike."""
    rng, engine = np.random.default_rng(first), connect(url)
    for start in range(first, first + count, BATCH):
        numbers = range(start, min(start + BATCH, first + count))
        slates, events = list[dict[str, Any]](), list[dict[str, Any]]()
        for number, person, clicked in zip(
            numbers, rng.integers(200_000, size=len(numbers)), rng.random(len(numbers)) < 1 / 3, strict=True
        ):
            arm = "canary" if person < SHARE * 200_000 else "champion"
            moment, bundle = START + number * SECOND, "b" if arm == "canary" else "a"
            asked = {"request_id": f"r{number}", "user_id": f"u{person}", "timestamp": moment, "arm": arm}
            made = {"bundle": bundle, "policy": "top_n", "took": 5_000, "worker": worker, "serial": number}
            slates.append(asked | made | SHOWN)
            if clicked:
                event = {"event_id": f"e{number}", "item_id": "i0", "event": "click", "value": None}
                who = {"user_id": f"u{person}", "request_id": f"r{number}", "timestamp": moment, "received": moment}
                events.append(event | who)
        with writing(engine) as connection:
            for table, rows in ((SLATES, slates), (EVENTS, events)):
                connection.execute(insert(table), rows)
    engine.dispose()


if __name__ == "__main__":
    main()
