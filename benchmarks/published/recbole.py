"""Measure RecBole on the split of `ml-100k`; the bounds of that protocol's gates are what it reaches.

    python -m benchmarks.published.recbole --peers FOLDER --python PYTHON               all six models
    python -m benchmarks.published.recbole --peers FOLDER --python PYTHON bpr neumf     some of them
    python -m benchmarks.published.recbole --peers FOLDER --python PYTHON --chosen      with the passes chosen before

RecBole keeps its own parameters but for the number of passes: each that `MODELS` lists is tried, learning from the
training part and ranking for the validation part; the one of the best NDCG@10 is trained anew on both and ranks for the
test part. `benchmarks/recbole.json` keeps what was tried and what came of it; `python -m benchmarks.published` then
writes the table with these bounds.

FOLDER holds the runner, `peer_recbole.py`; PYTHON is an interpreter that has RecBole 1.2.1, which needs older packages
than this project. The runner is called as

    PYTHON peer_recbole.py --train FILE --test FILE --model BPR --k 10 --threads 1 --out REPORT --set epochs=20

It ranks the items of the training file, less those that it has of the person, and writes JSON with `model`, `version`,
`settings`, `fit_seconds` and `metrics`, among them `recall@10` and `ndcg@10`, means over the people of the test file.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.published.protocols import ROOT, ml_100k

RESULTS = ROOT / "benchmarks" / "recbole.json"
RUNNER = "peer_recbole.py"
METRICS = ("recall@10", "ndcg@10")
CHOSEN_BY = "ndcg@10"


@dataclass(frozen=True)
class Peer:
    """A model of RecBole.

    Attributes:
        name: what RecBole calls it.
        passes: numbers of passes to choose from; none for a model in closed form.
    """

    name: str
    passes: tuple[int, ...] = ()


# By the names that the models have here.
MODELS = {
    "ease": Peer("EASE"),
    "item_knn": Peer("ItemKNN"),
    "bpr": Peer("BPR", (20, 50, 100, 200)),
    "neumf": Peer("NeuMF", (10, 20, 40)),
    "multvae": Peer("MultiVAE", (50, 100, 200)),
    "lightgcn": Peer("LightGCN", (20, 60, 150)),
}

Run = Callable[[str, Path, Path, int | None], dict[str, Any]]
"""RecBole's name of a model, what it learns from, what it has to find, and its passes -> the runner's report."""


def main() -> None:
    """Measure the models named on the command line, all by default; each result is kept at once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published.recbole")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--peers", type=Path, required=True, help=f"folder that holds {RUNNER}")
    parser.add_argument("--python", required=True, help="interpreter that has RecBole")
    parser.add_argument("--chosen", action="store_true", help="keep the passes chosen before, and only test")
    options = parser.parse_args()
    records = read()
    wanted = [name for name in MODELS if name in (options.models or MODELS)]
    if unknown := sorted(set(options.models) - set(MODELS)):
        parser.error(f"there is no {unknown[0]!r} to measure; choose from: {', '.join(MODELS)}")
    if options.chosen and (new := [name for name in wanted if name not in records]):
        parser.error(f"no passes were chosen before for {new[0]!r}; leave --chosen out to choose them")
    run = runner(options.peers, options.python)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        split(folder)
        for name in wanted:
            tried = records[name]["tried"] if options.chosen else attempts(MODELS[name], folder, run)
            records[name] = {"tried": tried, **outcome(MODELS[name], folder, run, best(tried))}
            print(name, json.dumps(records[name]), flush=True)
            RESULTS.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read() -> dict[str, Any]:
    """What was measured, by model; empty before anything was."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}


def split(folder: Path) -> None:
    """Write the parts of the protocol, and ``both.parquet``: the training rows, then the validation rows."""
    ml_100k(folder)
    parts = [pl.read_parquet(folder / f"{part}.parquet") for part in ("train", "valid")]
    pl.concat(parts).write_parquet(folder / "both.parquet")


def attempts(peer: Peer, folder: Path, run: Run) -> list[dict[str, Any]]:
    """The validation metrics of each number of passes, in the order of `Peer.passes`; `None` passes in closed form."""
    return [
        {"passes": passes, **metrics(run(peer.name, folder / "train.parquet", folder / "valid.parquet", passes))}
        for passes in peer.passes or (None,)
    ]


def best(tried: list[dict[str, Any]]) -> int | None:
    """The passes of the best NDCG@10; of equals the first."""
    return max(tried, key=lambda one: one[CHOSEN_BY])["passes"]


def outcome(peer: Peer, folder: Path, run: Run, passes: int | None) -> dict[str, Any]:
    """What is kept of training on both parts and ranking for the test part."""
    report = run(peer.name, folder / "both.parquet", folder / "test.parquet", passes)
    kept = {key: report[key] for key in ("model", "version", "settings", "fit_seconds")}
    return {**kept, "metrics": metrics(report)}


def metrics(report: dict[str, Any]) -> dict[str, float]:
    """What gates are bounded by, from a report of the runner or from what `read` gives of a model."""
    return {name: report["metrics"][name] for name in METRICS}


def runner(peers: Path, python: str) -> Run:
    """What runs RecBole in a process of its own, on one thread.

    Ends the program with a sentence if the runner or the interpreter is not there, or later if a run fails.
    """
    script = peers.absolute() / RUNNER
    if not script.is_file():
        sys.exit(f"error: {script} does not exist; name the folder that holds it by --peers.")
    if shutil.which(python) is None:
        sys.exit(f"error: {python} is no program; name an interpreter that has RecBole by --python.")

    def run(model: str, train: Path, test: Path, passes: int | None) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "report.json"
            command = [python, str(script), "--train", str(train), "--test", str(test), "--model", model]
            command += ["--k", "10", "--threads", "1", "--out", str(out)]
            command += [] if passes is None else ["--set", f"epochs={passes}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
                sys.exit(f"error: {RUNNER} failed with {model} ({last}); correct that and run again.")
            return json.loads(out.read_text(encoding="utf-8"))

    return run


if __name__ == "__main__":
    main()
