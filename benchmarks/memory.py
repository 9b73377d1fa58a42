"""Memory of training on ten million interactions, and on a catalogue of a million items.

    python -m benchmarks.memory                       every model on both
    python -m benchmarks.memory --world large als ...  some models on ten million interactions
    python -m benchmarks.memory --world wide sasrec    on a million items

Both worlds are drawn at random in the shape of real data: histories of very different lengths, items of very different
popularity, with ratings, item attributes and text, people's attributes and a knowledge graph; they show sizes, not
quality. Each model trains with its defaults in a process of its own, whose peak resident memory the system tells.
Models that make passes are stopped `--seconds` after the first pass began: by then every kind of batch has been seen,
and memory no longer grows with the length of the training. The others are fitted to their end, or stopped after
`--longest`.

Results go to `benchmarks/memory.json`, from which `benchmarks/MEMORY.md` is written.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import torch
import yaml

from recloop import models
from recloop.columns import HEAD, ITEM, RELATION, TAIL, TIME, USER, VALUE
from recloop.config import parse
from recloop.data.tables import TIMESTAMP, Attributes
from recloop.errors import RecloopError
from recloop.models.base import FitContext, IterativeModel, TrainingData, check_needs

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "memory.json"
TABLE = ROOT / "benchmarks" / "MEMORY.md"
BOUND_MIB = 24 * 1024
LINE = "begun"


@dataclass(frozen=True, kw_only=True)
class World:
    """How large the made-up data are.

    Attributes:
        people: U.
        items: I.
        draws: events drawn, every item at least once; repeats of a person and an item are dropped, which leaves N.
        shape: of real data of this size.
    """

    people: int
    items: int
    draws: int
    shape: str


WORLDS = {
    "large": World(people=69_878, items=10_677, draws=12_300_000, shape="the shape of MovieLens-10M"),
    "wide": World(people=200_000, items=1_000_000, draws=2_000_000, shape="a shop of a million items"),
}
OTHERS = {
    "large": {"content_embedding, column of vectors": ("content_embedding", {"encoder": "vectors"})},
    "wide": {
        "sasrec, sampled softmax": ("sasrec", {"loss": "sampled_softmax"}),
        "gru4rec, sampled softmax": ("gru4rec", {"loss": "sampled_softmax"}),
    },
}
"""Further settings that are measured, of the models that are."""


def main() -> None:
    """Measure, or be the process that is measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--world", choices=[*WORLDS], action="append", help="by default both")
    parser.add_argument("--seconds", type=float, default=30, help="of passes, after which training is stopped")
    parser.add_argument("--longest", type=float, default=900, help="seconds that preparing or fitting may take")
    parser.add_argument("--measured", nargs=2, metavar=("FOLDER", "SETTINGS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measured:
        train(options.models[0], Path(options.measured[0]), yaml.safe_load(options.measured[1]))
        return
    if unknown := set(options.models) - set(models.names()):
        parser.error(f"there is no model {min(unknown)!r}; choose from: {', '.join(models.names())}")
    records: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in options.world or WORLDS:
        with tempfile.TemporaryDirectory() as folder:
            make(WORLDS[name], Path(folder))
            runs = {model: (model, {}) for model in options.models or models.names()}
            runs |= {label: run for label, run in OTHERS[name].items() if run[0] in runs}
            for label, (model, settings) in runs.items():
                record = measure(model, Path(folder), settings, options.seconds, options.longest)
                print(f"{name}/{label}: {record}", flush=True)
                records[f"{name}/{label}"] = record
                RESULTS.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
                TABLE.write_text(table(records))


def make(world: World, folder: Path) -> None:
    """Write a world's tables into `folder`."""
    random = np.random.default_rng(0)
    lengths = random.lognormal(sigma=1.1, size=world.people)
    lengths = np.clip(lengths * world.draws / lengths.sum(), 2, world.items / 4).astype(np.int64)
    popularity = 1 / (np.arange(world.items) + 20.0)
    users = np.repeat(np.arange(world.people), lengths)
    items = random.choice(world.items, size=len(users), p=popularity / popularity.sum())
    items[random.choice(len(items), world.items, replace=False)] = np.arange(world.items)
    events = pl.DataFrame({USER: users, ITEM: items}).unique(maintain_order=True)
    events.with_columns(
        (pl.int_range(pl.len()) * 1_000_000).cast(TIMESTAMP).alias(TIME),
        pl.Series(VALUE, random.integers(1, 6, events.height).astype(np.float32)),
        pl.col(USER, ITEM).cast(pl.String),
    ).write_parquet(folder / "events.parquet")
    kinds = random.integers(0, 18, (world.items, 2))
    pl.DataFrame(
        {
            ITEM: np.arange(world.items).astype(str),
            "title": [f"item number {item} of kind {kind}" for item, kind in enumerate(kinds[:, 0])],
            "categories": [[f"kind {kind}" for kind in pair] for pair in kinds.tolist()],
            "vector": random.normal(size=(world.items, 64)).astype(np.float32),
        }
    ).with_columns(pl.col("vector").arr.to_list()).write_parquet(folder / "items.parquet")
    pl.DataFrame(
        {USER: np.arange(world.people).astype(str), "age": random.integers(10, 80, world.people).astype(str)}
    ).write_parquet(folder / "users.parquet")
    triples = {
        HEAD: [f"item:{item}" for item in range(world.items) for _ in range(2)],
        RELATION: ["is of"] * (2 * world.items),
        TAIL: [f"kind {kind}" for kind in kinds.ravel().tolist()],
    }
    pl.DataFrame(triples).write_parquet(folder / "knowledge.parquet")


def train(name: str, folder: Path, settings: dict[str, Any]) -> None:
    """Train until the end, or until the process is ended; says `LINE` when passes begin, and what was refused."""
    tables = {table: pl.read_parquet(folder / f"{table}.parquet") for table in ("items", "users", "knowledge")}
    events = pl.read_parquet(folder / "events.parquet")
    kind = models.find(name)
    catalogue = models.catalogue(kind, events, tables["items"])
    data = TrainingData.from_tables(events, catalogue, Attributes(**tables))
    print(json.dumps({"users": len(data.histories), "items": len(catalogue), "events": events.height}), flush=True)
    del tables, events
    model = kind(parse(kind.Config, settings, "--set"), len(catalogue))
    context = FitContext(device=torch.device("cpu"))
    try:
        check_needs(kind, data)
        if isinstance(model, IterativeModel):
            model.begin(data, context)
            print(LINE, flush=True)
            for _ in range(model.epochs):
                model.advance(context)
        else:
            model.fit(data, context)
    except RecloopError as error:
        print(json.dumps({"refused": str(error)}), flush=True)


def measure(model: str, folder: Path, settings: dict[str, Any], seconds: float, longest: float) -> dict[str, Any]:
    """What became of training a model in a process of its own, and the largest memory it had."""
    command = [sys.executable, "-m", "benchmarks.memory", model, "--measured", str(folder), json.dumps(settings)]
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.DEVNULL)
        peak, began, ends = 0.0, None, started + longest
        while process.poll() is None and time.perf_counter() < ends:
            peak = max(peak, _peak_mib(process.pid))
            if began is None and LINE in _lines(said):
                began = time.perf_counter()
                ends = began + seconds
            time.sleep(0.1)
        stopped = process.poll() is None
        if stopped:
            process.kill()
        code = process.wait()
        lines = _lines(said)
    record: dict[str, Any] = {"peak_mib": round(peak), "seconds": round(time.perf_counter() - started, 1)}
    record |= {"settings": settings, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for line in lines:
        record |= json.loads(line) if line.startswith("{") else {}
    if "refused" in record:
        outcome = "refused"
    elif stopped:
        outcome = "stopped before its end" if began is None else "training"
    else:
        outcome = "trained" if code == 0 else f"ended with code {code}"
    return record | {"outcome": outcome}


def _lines(said: IO[str]) -> list[str]:
    said.seek(0)
    return said.read().splitlines()


def _peak_mib(pid: int) -> float:
    """The largest resident memory that a running process has had; Linux alone tells it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(line.split()[1]) / 1024


def table(records: dict[str, Any]) -> str:
    """MEMORY.md."""
    lines = [
        "# Memory of training",
        "",
        "Written by `python -m benchmarks.memory`, which says how it is measured. MiB are the peak of the whole",
        "process: Python, torch, the data, the model and its optimiser. *Training* means that passes were",
        "under way when the process was stopped; seconds are those until then, on a machine that did other work.",
    ]
    for name, world in WORLDS.items():
        found = {key.partition("/")[2]: record for key, record in records.items() if key.startswith(f"{name}/")}
        if not found:
            continue
        size = next((record for record in found.values() if "users" in record), None)
        counted = (
            "" if size is None else f"{size['users']:,} people, {size['items']:,} items, {size['events']:,} events"
        )
        lines += ["", f"## {world.shape[0].upper()}{world.shape[1:]}: {counted}", ""]
        lines += ["| model | outcome | MiB | s |", "| --- | --- | --- | --- |"]
        for label, record in sorted(found.items(), key=lambda pair: pair[1]["peak_mib"]):
            outcome = record.get("refused", record["outcome"])
            lines.append(f"| {label} | {outcome} | {record['peak_mib']:,} | {record['seconds']:.0f} |")
        above = [label for label, record in found.items() if record["peak_mib"] > BOUND_MIB]
        lines += ["", f"Above {BOUND_MIB:,} MiB: {', '.join(above) or 'none'}."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
