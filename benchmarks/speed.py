"""Training and ranking speed on MovieLens-1M beside other libraries, one after the other in one run.

    python -m benchmarks.speed --peers FOLDER --recbole PYTHON --rectools PYTHON     all pairs
    python -m benchmarks.speed --peers FOLDER --recbole PYTHON sasrec ...            some pairs
    python -m benchmarks.speed                                                       ours alone; nothing is recorded

FOLDER holds a runner for each library (`peer_implicit.py`, `peer_recbole.py`, `peer_rectools.py`), PYTHON is the
interpreter of an environment where that library is installed; `peer_recbole.py` and `peer_implicit.py` share one. Runs
are processes of their own. Both sides have the same number of threads, learn from the same events (each person's last
two left out) and rank all items for all people. A side runs twice, in the order peer, ours, ours, peer, and the quicker
of its two runs counts.

A pass is compared by the events that it predicts: a library's epoch predicts every event once, while some models here
hide a share of the events and predict these alone (`Pair.asked`), and a peer may cut long histories
(`Pair.theirs_asked`). Seconds of a pass are divided by that share; both are recorded as they were measured. Neither
side's preparation of data is in them, nor validation.

Results go to `benchmarks/speed.json`, from which `benchmarks/SPEED.md` is written.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from benchmarks.published.protocols import ROOT, ml_1m
from recloop import models

RESULTS = ROOT / "benchmarks" / "speed.json"
TABLE = ROOT / "benchmarks" / "SPEED.md"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model here and the same model elsewhere, as near in size as their parameters allow.

    Attributes:
        name: how the pair is called.
        model: our model.
        library: `implicit`, `recbole` or `rectools`.
        peer: what the peer's runner calls its model.
        ours: our parameters that differ from the defaults.
        theirs: the peer's that differ from its defaults.
        most: largest wanted ratio of our time to the peer's, for training.
        asked: share of the events that one of our passes predicts.
        theirs_asked: the same of the peer's.
        passes: of ours that are timed; what the parameter is called that says so.
        remark: what the two differ in.
    """

    name: str
    model: str
    library: str
    peer: str
    ours: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)
    most: float
    asked: float = 1.0
    theirs_asked: float = 1.0
    passes: tuple[str, int] | None = ("epochs", 3)
    remark: str = ""


PAIRS = [
    Pair(
        name="als-64",
        model="als",
        library="implicit",
        peer="als",
        ours={"factors": 64},
        theirs={"factors": 64, "iterations": 15},
        most=1.0,
        passes=("iterations", 15),
        remark="one preconditioned step of conjugate gradients; to rank, histories are folded in here, looked up there",
    ),
    Pair(
        name="als-256",
        model="als",
        library="implicit",
        peer="als",
        ours={"factors": 256},
        theirs={"factors": 256, "iterations": 15},
        most=1.0,
        passes=("iterations", 15),
        remark="as above",
    ),
    Pair(
        name="sasrec",
        model="sasrec",
        library="rectools",
        peer="SASRec",
        ours={"dim": 128, "layers": 2, "heads": 2, "max_length": 200},
        theirs={"n_factors": 128, "n_blocks": 2, "n_heads": 2, "session_max_len": 200, "loss": "softmax"},
        most=0.25,
        theirs_asked=0.66,
        passes=("epochs", 2),
        remark="windows of 200 events cover all events here; there the newest 200 of each person, 66% of the events",
    ),
    Pair(
        name="gru4rec",
        model="gru4rec",
        library="recbole",
        peer="GRU4Rec",
        ours={"dim": 128},
        most=0.2,
        remark="whole windows here, one sample a prefix there; item vectors of 128 here, 64 there; states of 128",
    ),
    Pair(
        name="lightgcn",
        model="lightgcn",
        library="recbole",
        peer="LightGCN",
        ours={"dim": 64},
        most=0.2,
        asked=0.3,
        passes=("epochs", 5),
        remark="softmax over all items here, one negative there; three steps of the graph here, two there",
    ),
    Pair(
        name="neumf",
        model="neumf",
        library="recbole",
        peer="NeuMF",
        ours={"dim": 64, "layers": 2, "width": 128, "negatives": 1},
        most=0.2,
        asked=0.5,
        remark="vectors of 64, layers of 128 and 64, one negative",
    ),
    Pair(name="bpr", model="bpr", library="recbole", peer="BPR", ours={"dim": 64}, most=0.5, passes=("epochs", 5)),
    Pair(
        name="multvae",
        model="multvae",
        library="recbole",
        peer="MultiVAE",
        ours={"dim": 128, "batch_size": 2048},
        theirs={"epochs": 3},
        most=0.5,
        passes=("epochs", 5),
        remark="batches of 2,048 people, codes of 128, layers of 600",
    ),
    Pair(
        name="multvae-128",
        model="multvae",
        library="recbole",
        peer="MultiVAE",
        ours={"dim": 128},
        theirs={"epochs": 3},
        most=0.5,
        passes=("epochs", 5),
        remark="as above, but batches of 128 people here, the default: sixteen times as many steps",
    ),
    Pair(name="ease", model="ease", library="recbole", peer="EASE", most=1.0, passes=None),
]
RANKED = ("popularity", "nmf", "warp", "gmf", "simgcl", "multdae", "recvae", "two_tower")
"""Further models whose ranking alone is timed, after one pass: those of products of vectors that need no ratings."""


def main() -> None:
    """Measure the pairs named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("pairs", nargs="*", metavar="PAIR")
    parser.add_argument("--peers", type=Path, help="folder of the runners")
    parser.add_argument("--recbole", type=Path, help="Python with RecBole and implicit")
    parser.add_argument("--rectools", type=Path, help="Python with RecTools")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds after which a peer's epoch is cut short")
    options = parser.parse_args()
    names = [pair.name for pair in PAIRS] + ["ranking"]
    if unknown := set(options.pairs) - set(names):
        parser.error(f"there is no pair {min(unknown)!r}; choose from: {', '.join(names)}")
    pythons = {"implicit": options.recbole, "recbole": options.recbole, "rectools": options.rectools}
    wanted = options.pairs or names
    records: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        files = ml_1m(Path(folder))
        for pair in PAIRS:
            if pair.name not in wanted:
                continue
            python = pythons[pair.library] if options.peers else None
            record = compare(pair, files, options.peers, python, options.time_limit)
            print(f"{pair.name}: {record}", flush=True)
            if record["theirs"] is not None:
                records[pair.name] = record
                _write(records)
        if "ranking" in wanted:
            for model in RANKED:
                record = {"ours": ours(model, {}, _one_pass(model), files)}
                print(f"{model}: {record}", flush=True)
                if options.peers:
                    records[f"ranking/{model}"] = record
                    _write(records)


def compare(
    pair: Pair, files: dict[str, Path], peers: Path | None, python: Path | None, limit: float
) -> dict[str, Any]:
    """The quicker of two runs of each side, taken in turns; `theirs` is null where the peer cannot be run."""
    theirs = [] if peers is None or python is None else [peer(pair, files, peers, python, limit)]
    own = [ours(pair.model, pair.ours, pair.passes, files) for _ in range(2)]
    if theirs and peers is not None and python is not None:
        theirs.append(peer(pair, files, peers, python, limit))
    return {
        "ours": min(own, key=itemgetter("seconds")),
        "theirs": min(theirs, key=itemgetter("seconds")) if theirs else None,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
    }


def ours(
    model: str, settings: dict[str, Any], passes: tuple[str, int] | None, files: dict[str, Path]
) -> dict[str, float]:
    """Seconds of a pass (of fitting, for a model without passes) and of ranking, people ranked, peak memory in MiB."""
    given = settings if passes is None else settings | dict([passes])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        command = [sys.executable, "-m", "recloop.cli", "benchmark", "--model", model, "--out", str(out)]
        command += ["--train", str(files["train"]), "--test", str(files["test"]), "--metrics", "ndcg@10"]
        if model == "two_tower":
            command += ["--items", str(files["items"])]
        command += [word for key, value in given.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(done.returncode)  # it has said why
        report = json.loads(out.read_text())
    return {
        "seconds": report["pass_seconds"] or report["fit_seconds"],
        "rank_seconds": report["rank_seconds"],
        "people": report["test_users"],
        "peak_mib": report["peak_rss_mb"],
    }


def peer(pair: Pair, files: dict[str, Path], peers: Path, python: Path, limit: float) -> dict[str, float]:
    """The same of a peer."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        command = [str(python), str(peers / f"peer_{pair.library}.py"), "--model", pair.peer, "--out", str(out)]
        command += ["--train", str(files["train"]), "--test", str(files["test"]), "--k", "10"]
        command += ["--threads", str(torch.get_num_threads()), "--time-limit", str(limit)]
        if pair.peer == "NeuMF":
            command += ["--rank-users", "512"]
        command += [word for key, value in pair.theirs.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": ""}
        done = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            sys.exit(f"{command[1]} ended with code {done.returncode} and said {said!r}; run it by itself to see why.")
        report = json.loads(out.read_text())
    return {
        "seconds": report.get("seconds_per_epoch", report["fit_seconds"]),
        "share": report.get("share_of_training_done", 1.0),
        "rank_seconds": report["rank_seconds"],
        "people": report["dataset"]["test_users"],
        "peak_mib": report["peak_rss_mb"],
    }


def _one_pass(model: str) -> tuple[str, int] | None:
    """The parameter that says how many passes there are, and 1; none for a model without passes."""
    names = models.find(model).Config.model_fields
    return next(((name, 1) for name in ("epochs", "iterations") if name in names), None)


def _write(records: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
    TABLE.write_text(table(records))


def ratio(pair: Pair, record: dict[str, Any]) -> float:
    """Our seconds over the peer's, for as many predicted events."""
    return record["ours"]["seconds"] / pair.asked / (record["theirs"]["seconds"] / pair.theirs_asked)


def table(records: dict[str, Any]) -> str:
    """SPEED.md."""
    lines = [
        "# Speed beside other libraries",
        "",
        "Written by `python -m benchmarks.speed`, which says how it is measured. MovieLens-1M, each person's last two",
        "events left out of training; both sides have the same threads. Seconds are of a pass, of an iteration, or of",
        "the whole fit (EASE); where a pass predicts a share of the events alone, the share stands behind, and the",
        "ratio is of the seconds for as many predicted events. Ranking is of all 3,416 items; ours has the metrics and",
        "the exact ranks in it. A cut peer was stopped by a time limit, and its epoch extrapolated.",
        "",
        "| pair | peer | their s | our s | ratio | at most | their users/s | our users/s | their MiB | our MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for pair in PAIRS:
        if (record := records.get(pair.name)) is None:
            lines.append(f"| {pair.name} | {pair.library} {pair.peer} | not measured | | | {pair.most} | | | | |")
            continue
        own, other = record["ours"], record["theirs"]
        cut = "" if other["share"] >= 1 else f" (cut at {other['share']:.0%})"
        cells = [pair.name, f"{pair.library} {pair.peer}{cut}"]
        cells += [_seconds(other, pair.theirs_asked), _seconds(own, pair.asked)]
        cells += [f"{ratio(pair, record):.2f}", str(pair.most)]
        cells += [f"{side['people'] / side['rank_seconds']:,.0f}" for side in (other, own)]
        cells += [f"{side['peak_mib']:,.0f}" for side in (other, own)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| pair | parameters here | parameters there | what differs |", "| --- | --- | --- | --- |"]
    for pair in PAIRS:
        lines.append(f"| {pair.name} | {_listed(pair.ours)} | {_listed(pair.theirs)} | {pair.remark} |")
    lines += ["", "Ranking alone, after one pass:", "", "| model | users/s | MiB |", "| --- | --- | --- |"]
    for model in RANKED:
        if (record := records.get(f"ranking/{model}")) is not None:
            own = record["ours"]
            lines.append(f"| {model} | {own['people'] / own['rank_seconds']:,.0f} | {own['peak_mib']:,.0f} |")
    machines = sorted({record["machine"] for record in records.values() if "machine" in record})
    return "\n".join([*lines, "", f"Machine: {'; '.join(machines)}.", ""])


def _seconds(side: dict[str, Any], asked: float) -> str:
    return f"{side['seconds']:.2f}" + ("" if asked == 1 else f" ({asked:.0%})")


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in settings.items()) or "defaults"


if __name__ == "__main__":
    main()
