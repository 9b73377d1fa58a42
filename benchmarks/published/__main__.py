"""Measure models against published numbers.

    python -m benchmarks.published                     list the gates and what was measured, and write the table anew
    python -m benchmarks.published ml-1m/sasrec ...     run some
    python -m benchmarks.published --set epochs=1 GATE  try a gate with other parameters; nothing is recorded

Each run is a process of its own: `recloop benchmark` on the files of a protocol, or, for click prediction, the program
of that protocol. What it gives is kept in `benchmarks/results.json`, from which `benchmarks/RESULTS.md` is written; a
later run of a gate with the same seed replaces the earlier one. The bounds of `ml-100k` are in
`benchmarks/recbole.json`; `python -m benchmarks.published.recbole` measures them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from benchmarks.published import recbole
from benchmarks.published.protocols import PROTOCOLS, ROOT

RESULTS = ROOT / "benchmarks" / "results.json"
TABLE = ROOT / "benchmarks" / "RESULTS.md"
# What is kept of a report, as far as it is there.
KEPT = (
    "model",
    "config",
    "device",
    "seed",
    "passes",
    "resumed_passes",
    "fit_seconds",
    "rank_seconds",
    "peak_rss_mb",
    "metrics",
    "valid",
)
# The published results are those of the best pass over all validation questions.
PATIENT = {"early_stopping.max_examples": None, "early_stopping.patience": 5}


@dataclass(frozen=True)
class Gate:
    """What a model must reach in ranking, measured by `recloop benchmark` on the files of the protocol.

    Attributes:
        protocol: name of the data and the way they are divided.
        model: the model's name.
        bounds: metric -> published value.
        source: what was measured there.
        settings: parameters that differ from the model's defaults.
        variant: tells gates of the same model apart.
    """

    protocol: str
    model: str
    bounds: dict[str, float]
    source: str
    settings: dict[str, Any] = field(default_factory=dict)
    variant: str = ""

    @property
    def name(self) -> str:
        """How the gate is called."""
        return f"{self.protocol}/{self.model}{self.variant}"

    def program(self, folder: Path) -> list[str]:
        """The module to run and the arguments of its own, its data written to `folder`.

        It also takes `--model`, `--seed`, `--device`, any number of `--set KEY=VALUE`, and `--out` for its report.
        """
        files = PROTOCOLS[self.protocol](folder)
        metrics = ",".join(name.removeprefix("sampled_") for name in self.bounds)
        words = ["recloop.cli", "benchmark", "--metrics", metrics]
        words += [word for name, path in files.items() for word in (f"--{name}", str(path))]
        return words + (assignments(PATIENT) if "valid" in files else [])


@dataclass(frozen=True)
class ClickGate(Gate):
    """What a model must reach in telling clicks from other samples; the protocol is a program."""

    @override
    def program(self, folder: Path) -> list[str]:
        """The program of the protocol, which reads its data where they lie."""
        del folder
        return [f"benchmarks.published.{self.protocol.replace('-', '_')}"]


def assignments(settings: Mapping[str, Any]) -> list[str]:
    """Parameters as words of a command line."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def full(hit: float, ndcg: float) -> dict[str, float]:
    """Bounds of a ranking of all items."""
    return {"hit@10": hit, "ndcg@10": ndcg}


def sampled(hit: float, ndcg: float) -> dict[str, float]:
    """Bounds of a ranking among given negatives."""
    return {"sampled_hit@10": hit, "sampled_ndcg@10": ndcg}


# The published setting (reg .007, alpha .3) in the terms of `als`: reg weighs the events too, so it is .007 * 1.3.
PUBLISHED_IALS = {
    "factors": 192,
    "alpha": 1.0,
    "unobserved_weight": 0.3,
    "regularization": 0.0091,
    "regularization_scale": 1.0,
    "iterations": 12,
    "solver": "cholesky",
}
# Chosen by one event of each person taken out of training at random; docs/experiments.md.
WIDE = {"dim": 64, "negatives": 4, "weight_decay": 0.02}
# As both papers and their re-runs have it for MovieLens-1M: long windows, twice the default width.
LONG = {"dim": 128, "max_length": 200, "learning_rate": 0.001}
# Chosen on validation in the first passes over MovieLens-1M; docs/experiments.md.
BLANKS = {"masked": 0.4, "batch_size": 32}
# Sparse data want much dropout, as the paper of SASRec says; compared with nothing else.
SPARSE = {"dropout": 0.5, "learning_rate": 0.001}
# Chosen on the validation part of `ml-100k`, then trained on training and validation parts together, as RecBole's are;
# docs/experiments.md has what was tried.
CHOSEN = {
    "ease": {},
    "item_knn": {"whose": "candidate", "neighbors": 200},
    "bpr": {"negatives": 4, "epochs": 21},
    "neumf": {"epochs": 31},
    "multvae": {"dim": 64, "learning_rate": 0.001, "beta": 0.5, "dropout": 0.6, "batch_size": 256, "epochs": 104},
    "lightgcn": {"dim": 128, "layers": 2, "hidden": 0.5, "learning_rate": 0.005, "batch_size": 64, "epochs": 130},
}
RECBOLE = recbole.read()
# What was published for Last.FM; docs/models/knowledge-graph.md says how the parameters were chosen.
KGCN = {"auc": 0.796, "f1": 0.72}
GATES = [
    Gate("ml-1m-ncf", "als", sampled(0.7308, 0.4531), "iALS, 192 factors", PUBLISHED_IALS),
    Gate("ml-1m-ncf", "neumf", sampled(0.725, 0.44), "NeuMF, about", WIDE),
    Gate("ml-1m", "bpr", full(0.0740, 0.0377), "MF-BPR"),
    Gate("ml-1m", "sasrec", full(0.3058, 0.1779), "SASRec with full softmax", LONG),
    Gate(
        "ml-1m",
        "bert4rec",
        full(0.2821, 0.1516),
        "BERT4Rec",
        LONG | BLANKS | {"epochs": 128, "early_stopping.validate_every": 4},
    ),
    Gate("amazon-beauty", "sasrec", full(0.083, 0.0416), "SASRec with full softmax", SPARSE),
    Gate(
        "amazon-beauty",
        "sasrec",
        full(0.0647, 0.0327),
        "S3-Rec, pre-trained on attributes",
        SPARSE | {"attributes": True},
        variant="-attributes",
    ),
    Gate("amazon-beauty", "gru4rec", full(0.0283, 0.0137), "GRU4Rec"),
    *(
        Gate("ml-100k", model, recbole.metrics(RECBOLE[model]), f"RecBole {RECBOLE[model]['version']}", settings)
        for model, settings in CHOSEN.items()
        if model in RECBOLE
    ),
    Gate("amazon-beauty", "caser", full(0.0347, 0.0176), "Caser"),
    Gate("amazon-beauty", "bert4rec", full(0.0347, 0.0170), "BERT4Rec", BLANKS),
    ClickGate("lastfm-kg", "popularity", KGCN, "KGCN (CKAN .842); how far one comes without a person"),
    ClickGate("lastfm-kg", "lightgcn", KGCN, "KGCN (CKAN .842); how far one comes without the knowledge graph"),
    ClickGate("lastfm-kg", "kgat", KGCN, "KGCN (CKAN .842)", {"epochs": 15, "batch_size": 512}),
    ClickGate(
        "lastfm-kg",
        "kgcn",
        KGCN,
        "KGCN (CKAN .842)",
        {"epochs": 15, "batch_size": 256, "learning_rate": 0.02, "negatives": 256},
    ),
    ClickGate("lastfm-kg", "ripplenet", KGCN, "KGCN (CKAN .842)", {"epochs": 15}),
]


def main() -> None:
    """Run the gates named on the command line, or list them all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published")
    parser.add_argument("gates", nargs="*", metavar="GATE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--checkpoints", type=Path, help="folder; ended at any moment, the same command goes on from it"
    )
    options = parser.parse_args()
    if unknown := set(options.gates) - {gate.name for gate in GATES}:
        parser.error(f"there is no gate {min(unknown)!r}; without arguments all are listed")
    for gate in GATES:
        if gate.name in options.gates:
            record = measure(gate, options.seed, options.device, options.set, options.checkpoints)
            print(f"{gate.name}: {verdict(gate, record)}", flush=True)
            if not options.set:
                write(recorded() | {f"{gate.name}/{options.seed}": record})
    if not options.gates:
        write(recorded())
        print(table(recorded()))


def recorded() -> dict[str, Any]:
    """What was measured, under gate and seed."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def write(records: dict[str, Any]) -> None:
    """Keep the records, and the table of them."""
    RESULTS.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
    TABLE.write_text(table(records))


def measure(gate: Gate, seed: int, device: str, settings: list[str], checkpoints: Path | None = None) -> dict[str, Any]:
    """One run of the gate's program; what is kept of its report, and the machine.

    `settings`, each ``KEY=VALUE``, come after the gate's own and so replace them. With `checkpoints` an interrupted run
    goes on, but for gates of clicks, which are short. Ends this program if that one fails, which has said why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "report.json"
        command = [sys.executable, "-m", *gate.program(Path(scratch)), "--model", gate.model, "--out", str(out)]
        command += assignments(gate.settings) + [word for setting in settings for word in ("--set", setting)]
        command += ["--seed", str(seed), "--device", device]
        if checkpoints is not None and not isinstance(gate, ClickGate):
            command += ["--checkpoint", str(checkpoints / gate.name / str(seed))]
        done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(done.returncode)
        report = json.loads(out.read_text())
    return {key: report[key] for key in KEPT if key in report} | {"machine": machine(report["device"])}


def machine(device: str) -> str:
    """What it was measured on."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine()
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def verdict(gate: Gate, record: dict[str, Any]) -> str:
    """Whether every bound was reached, with the numbers."""
    reached = all(record["metrics"][metric] >= bound for metric, bound in gate.bounds.items())
    numbers = ", ".join(
        f"{metric} {record['metrics'][metric]:.4f} (published {bound:.4f})" for metric, bound in gate.bounds.items()
    )
    return f"{'reached' if reached else 'missed'}: {numbers}"


def table(records: dict[str, Any]) -> str:
    """RESULTS.md."""
    lines = [
        "# Results against published numbers",
        "",
        "Written by `python -m benchmarks.published GATE`; the protocols are in `benchmarks/published/protocols.py`,",
        "that of `lastfm-kg` in `lastfm_kg.py` beside it. RecBole was measured by `recbole.py`, there too.",
        "Parameters are the models' defaults except where the gate names others (`benchmarks/results.json` has all);",
        "passes were chosen on validation, where there is one. Seconds are upper bounds: the same two cores did",
        "other work meanwhile.",
        "",
        "| gate | seed | measured | published | passes | fit s | rank s | peak MiB | machine | source |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for gate in GATES:
        published = ", ".join(f"{metric} {bound:.4f}" for metric, bound in gate.bounds.items())
        found = [record for key, record in records.items() if key.rpartition("/")[0] == gate.name]
        for record in sorted(found, key=lambda record: record["seed"]):
            measured = ", ".join(f"{metric} {record['metrics'][metric]:.4f}" for metric in gate.bounds)
            costs = [f"{record[key]:.1f}" for key in ("fit_seconds", "rank_seconds", "peak_rss_mb")]
            resumed = record.get("resumed_passes")
            passes = f"{record['passes']} (seconds without the first {resumed})" if resumed else record["passes"]
            cells = [gate.name, record["seed"], measured, published, passes, *costs]
            lines.append(f"| {' | '.join(map(str, cells))} | {record['machine']} | {gate.source} |")
        if not found:
            lines.append(f"| {gate.name} | | not measured | {published} | | | | | | {gate.source} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
