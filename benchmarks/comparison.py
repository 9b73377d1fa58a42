"""All models on one data set: how well each ranks, what it costs to train and to ask.

    python -m benchmarks.comparison              train and evaluate all models that have no result yet
    python -m benchmarks.comparison ease als     these, whatever results there are
    python -m benchmarks.comparison --page       write the page and its plot from the results

The project's own stages do it, with the parameters of `params.yaml`, in a copy of the checkout: MovieLens-100K, global
time split, parameters and passes chosen without the test window. Each model has a process and one thread of its own,
and costs are counted in seconds of that processor, so they bear other work on the machine. Results are kept in
`benchmarks/comparison.json`; the page is `docs/models/comparison.md`.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.__main__ import ROOT, copy_project

RESULTS = ROOT / "benchmarks" / "comparison.json"
PAGE = ROOT / "docs" / "models" / "comparison.md"
LIMIT = 1800
"""Seconds that one model may take."""
SHOWN = {"ndcg@10": "NDCG@10", "recall@10": "recall@10", "coverage@10": "coverage@10", "auc": "AUC", "rmse": "RMSE"}
COSTS = ("95% of NDCG@10", "items", "training s", "request ms", "MiB")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if options.one:
        print(json.dumps(one(options.one)))
    elif options.page:
        PAGE.with_suffix(".svg").write_text(plot(results))
        PAGE.write_text(page(results))
    else:
        compare(options.models, results)


def compare(names: list[str], results: dict[str, Any]) -> None:
    """Measure models, one after the other, and keep each result at once."""
    from recloop import models

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "recloop"
        project.mkdir()
        copy_project(project)
        for words in (["recloop.cli", "ingest"], ["dvc", "repro", "-q", "validate", "split"]):
            subprocess.check_call([sys.executable, "-m", *words], cwd=project)
        for name in names or [name for name in models.names() if name not in results]:
            results[name] = measured(project, name)
            print(name, json.dumps(results[name]), flush=True)
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def measured(project: Path, name: str) -> dict[str, Any]:
    """The result of a model, or the sentence that says why there is none."""
    command = [sys.executable, "-m", "benchmarks.comparison", "--one", name]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"reason": f"was not trained within {LIMIT // 60} minutes"}
    last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]
    return json.loads(last) if done.returncode == 0 else {"reason": last.removeprefix("error: ")}


def one(name: str) -> dict[str, Any]:
    """Train and evaluate a model in the project that is the working directory."""
    from pipelines import evaluate, train
    from recloop.config import load_params, parse, section
    from recloop.data.tables import read_json
    from recloop.devices import choose
    from recloop.errors import RecloopError
    from recloop.evaluation.latency import latency_ms
    from recloop.evaluation.ranking import EvaluateConfig
    from recloop.models import storage

    started = time.process_time()
    try:
        train.main(name)
    except RecloopError as error:
        sys.exit(f"error: {error}")
    trained = time.process_time()
    evaluate.main(name)
    config = parse(EvaluateConfig, section(load_params(), "evaluate"), "params.yaml: evaluate")
    model, catalogue = storage.load(evaluate.ARTIFACTS / "models" / name, choose("cpu"))
    asked = evaluate.read_questions(config).examples(catalogue)
    record = read_json(evaluate.ARTIFACTS / "evaluation" / name / "metrics.json")
    return {
        "metrics": record["metrics"],
        "ci95": record["ci95"],
        "items": len(catalogue),
        "train_seconds": round(trained - started, 2),
        "request_ms": round(latency_ms(model, asked, k=config.k, clock=time.process_time)["mean"], 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def families() -> dict[str, tuple[str, str]]:
    """The family of each model and the family's page, from the table in docs/models.md."""
    found: dict[str, tuple[str, str]] = {}
    for line in (ROOT / "docs/models.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| ([a-z ]+) \| (.*) \| \[.*\]\(models/(.*)\) \|", line):
            family, listed, target = match.groups()
            found |= dict.fromkeys(re.findall(r"`(\w+)`", listed), (family, target))
    return found


def page(results: Mapping[str, Any]) -> str:
    """The page, best ranking first."""
    known = families()
    done = {name: one for name, one in results.items() if "metrics" in one}
    lines = [
        "# All models compared",
        "",
        "Written by `python -m benchmarks.comparison --page` from the results of `python -m benchmarks.comparison`.",
        "MovieLens-100K, global time split, every item ranked for each question of the test window; the parameters",
        "of `params.yaml`, seed 0, passes chosen on the validation part. One run of each model: differences smaller",
        "than the intervals mean nothing, and 943 people are few. Training (with validation) and one request (a",
        "context scored and ranked) are counted in seconds of one processor core, without GPU. Models that score items",
        "without events rank the whole table of items, which is harder.",
        "",
        "![NDCG@10 against seconds of training and milliseconds of a request](comparison.svg)",
        "",
        f"| {' | '.join(['model', 'family', *SHOWN.values(), *COSTS])} |",
        "| --- | --- |" + " --- |" * (len(SHOWN) + len(COSTS)),
    ]
    for name in sorted(done, key=lambda name: -done[name]["metrics"]["ndcg@10"]):
        one = done[name]
        numbers = [f"{one['metrics'][metric]:.4f}" if metric in one["metrics"] else "" for metric in SHOWN]
        low, high = one["ci95"]["ndcg@10"]
        costs = [str(one["items"]), f"{one['train_seconds']:.1f}", f"{one['request_ms']:.2f}", str(one["peak_mib"])]
        family, target = known[name]
        cells = [f"`{name}`", f"[{family}]({target})", *numbers, f"{low:.4f} to {high:.4f}", *costs]
        lines.append(f"| {' | '.join(cells)} |")
    missing = {name: one["reason"] for name, one in results.items() if "reason" in one}
    if missing:
        lines += ["", "Without a result:", "", *(f"- `{name}`: {reason}" for name, reason in sorted(missing.items()))]
    return "\n".join([*lines, ""])


def plot(results: Mapping[str, Any]) -> str:
    """Two charts of quality against cost, as SVG."""
    import altair as alt
    import polars as pl

    known = families()
    rows: list[dict[str, Any]] = [
        {
            "model": name,
            "family": known[name][0],
            "ndcg": one["metrics"]["ndcg@10"],
            "training": max(one["train_seconds"], 0.01),
            "request": max(one["request_ms"], 0.01),
        }
        for name, one in sorted(results.items())
        if "metrics" in one
    ]
    top = alt.Scale(domainMax=1.05 * max(row["ndcg"] for row in rows), nice=False)
    base = alt.Chart(pl.DataFrame(rows)).encode(y=alt.Y("ndcg:Q", title="NDCG@10 on test", scale=top))
    charts: list[Any] = []
    for cost, title in (("training", "training, seconds of one core"), ("request", "one request, ms of one core")):
        placed = base.encode(x=alt.X(f"{cost}:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=40)))
        points = placed.mark_circle(size=55, opacity=0.85).encode(
            color=alt.Color("family:N", title="family", scale=alt.Scale(scheme="tableau20"))
        )
        labels = placed.mark_text(align="left", dx=5, dy=-3, fontSize=8).encode(text="model:N")
        charts.append((points + labels).properties(width=620, height=420))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.svg"
        alt.vconcat(*charts).save(path)
        return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
