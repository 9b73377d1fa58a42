"""What differential privacy costs in quality: NDCG@10 against epsilon, on MovieLens-1M.

    python -m benchmarks.privacy --choose
    python -m benchmarks.privacy --time
    python -m benchmarks.privacy

Everybody's newest film is asked for, after all that they took before; the one before it is for choosing parameters. The
unit of privacy is the person, with all their films. A small `multdae` is trained with each budget, with the same
parameters for all of them: `--choose` trains with each of a few parameters, with one budget and a seed of its own, and
asks for the films that are not the newest. The same network without privacy is trained as it usually is, with early
stopping on those films. `popularity` counts everybody without noise: it is no private model, but what anybody could
recommend without knowing the person. `--time` times the second pass of some models over some people, with private steps
that draw half of them and with ordinary ones, in seconds of one core.

Means are over people and then over seeds; intervals are bootstraps over the people, of their mean over seeds. Results
go to `benchmarks/privacy.json`, from which `benchmarks/PRIVACY.md` and `docs/privacy.svg` are written.
"""

import argparse
import itertools
import json
import os
import platform
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.published.protocols import ROOT
from benchmarks.warm_start import NDCG, interactions, some
from recloop import models
from recloop.columns import ITEM, USER
from recloop.data.sequences import Examples
from recloop.data.splits import examples
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.evaluation.significance import bootstrap_mean
from recloop.metrics import Ranking
from recloop.models.base import FitContext, Model, TrainingData
from recloop.models.neural import NeuralModel
from recloop.nn.private import Mechanism
from recloop.retrieval.exact import rank_examples
from recloop.training.config import PrivacyConfig, TrainConfig
from recloop.training.curves import Curves
from recloop.training.loop import train

RESULTS = ROOT / "benchmarks" / "privacy.json"
TABLE = ROOT / "benchmarks" / "PRIVACY.md"
PLOT = ROOT / "docs" / "privacy.svg"
NAME, SMALL = "multdae", {"dim": 64, "weight_decay": 0.0}
BUDGETS = (1.0, 2.0, 4.0, 8.0, 16.0)
TIMED, TIMED_PEOPLE = ("multdae", "multvae", "sasrec", "gru4rec"), 600
CHOSEN_AT, CHOSEN_WITH = 4.0, 100
"""The budget and the seed with which parameters are chosen."""
CHOICES = [
    {"learning_rate": rate, "epochs": passes, "batch_size": batch}
    for rate, passes, batch in itertools.product((0.003, 0.01, 0.03), (20, 60), (1000,))
]


@dataclass(frozen=True, kw_only=True)
class Split:
    """What is learnt from, and the questions that choose and that count."""

    items: Vocabulary
    data: TrainingData
    valid: Examples
    test: Examples


def main() -> None:
    """Choose, or train with each budget and ask."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.privacy")
    parser.add_argument("--choose", action="store_true", help="choose parameters")
    parser.add_argument("--time", action="store_true", help="time private passes")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = divided(interactions())
    record: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if options.choose:
        record["choices"] = [choice | asked_of(choice, parts) for choice in CHOICES]
    elif options.time:
        few = divided(some(interactions(), TIMED_PEOPLE))
        record["passes"] = {name: [seconds(name, few, private=private) for private in (False, True)] for name in TIMED}
    else:
        record |= measured(best(record["choices"]), parts, options.seeds)
    record["machine"] = f"{platform.machine()}, one thread, {os.cpu_count()} cores, torch {torch.__version__}"
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    if {"choices", "passes", "runs"} <= record.keys():
        TABLE.write_text(table(record))
        PLOT.write_text(plot(record))


def divided(events: pl.DataFrame) -> Split:
    """All but each person's two newest events; the older of these, and the newest."""
    age = pl.int_range(pl.len()).reverse().over(USER)
    learnt, valid, test = (events.filter(part) for part in (age > 1, age == 1, age == 0))
    items = Vocabulary(learnt[ITEM])
    chosen = examples(learnt, valid, items, mode="successive")[0]
    data = TrainingData.from_tables(learnt, items, Attributes())
    asked = examples(pl.concat([learnt, valid]), test, items, mode="successive")[0]
    return Split(items=items, data=data, valid=chosen, test=asked)


def trained(parts: Split, own: dict[str, Any], seed: int, budget: float | None) -> tuple[Model, Curves]:
    """With this budget, or, where it is `None`, without privacy and with early stopping."""
    kind = models.find(NAME)
    model = kind(kind.Config.model_validate(SMALL | own), len(parts.items))
    data = replace(parts.data, valid=parts.valid) if budget is None else parts.data
    how = TrainConfig(models=(NAME,), privacy=None if budget is None else PrivacyConfig(epsilon=budget))
    return model, train(model, data, how, FitContext(device=torch.device("cpu"), seed=seed))


def ask(model: Model, questions: Examples) -> NDArray[np.float64]:
    """NDCG@10 of each person."""
    answers = list(rank_examples(model, questions, 10))
    ranking = Ranking(
        ranks=np.concatenate([answer.ranks for answer in answers]),
        offsets=questions.offsets,
        n_candidates=np.concatenate([answer.n_candidates for answer in answers]),
    )
    return np.asarray(NDCG(ranking))


def seconds(name: str, parts: Split, *, private: bool) -> float:
    """Of one core, of the second pass of the model `name` with its defaults."""
    kind = models.find(name)
    model = kind(kind.Config(), len(parts.items))
    assert isinstance(model, NeuralModel), f"{name} is not trained by gradient steps"
    context = FitContext(device=torch.device("cpu"))
    model.begin(parts.data, context)
    if private:
        draws = torch.Generator().manual_seed(0)
        how = Mechanism(noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=0.5, steps=2, draws=draws)
        context = replace(context, privacy=how)
    model.advance(context)
    began = time.process_time()
    model.advance(context)
    return round(time.process_time() - began, 2)


def asked_of(own: dict[str, Any], parts: Split) -> dict[str, Any]:
    """What parameters bring on the films that choose."""
    model, _ = trained(parts, own, CHOSEN_WITH, CHOSEN_AT)
    found = {"ndcg@10": float(ask(model, parts.valid).mean())}
    print(own, found, flush=True)
    return found


def best(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """The parameters of the best of `choices`."""
    found = max(choices, key=lambda choice: choice["ndcg@10"])
    return {key: found[key] for key in CHOICES[0]}


def measured(own: dict[str, Any], parts: Split, seeds: int) -> dict[str, Any]:
    """Every budget, no privacy, and popularity."""
    kind = models.find("popularity")
    counted = kind(kind.Config(), len(parts.items))
    counted.fit(parts.data, FitContext(device=torch.device("cpu")))
    runs: list[dict[str, Any]] = []
    for budget in (*BUDGETS, None):
        values: list[NDArray[np.float64]] = []
        seconds: list[float] = []
        curves: list[Curves] = []
        for seed in range(seeds):
            began = time.process_time()
            model, curve = trained(parts, own if budget is not None else {}, seed, budget)
            seconds.append(round(time.process_time() - began, 1))
            curves.append(curve)
            values.append(ask(model, parts.test))
            print(f"epsilon {budget}, seed {seed}: {values[-1].mean():.4f}, {seconds[-1]:.0f} s", flush=True)
        runs.append(
            {
                "epsilon": budget,
                "ndcg@10": list(bootstrap_mean(np.mean(values, axis=0), seed=0)),
                "of seeds": [float(one.mean()) for one in values],
                "seconds": seconds,
                "privacy": curves[0].privacy,
            }
        )
    return {
        "model": NAME,
        "parameters": SMALL | own,
        "people": len(parts.data.histories),
        "events": len(parts.data.histories.items),
        "items": len(parts.items),
        "seeds": seeds,
        "popularity": list(bootstrap_mean(ask(counted, parts.test), seed=0)),
        "runs": runs,
    }


def table(record: dict[str, Any]) -> str:
    """PRIVACY.md."""
    private = record["runs"][0]["privacy"]
    own, given = record["parameters"], ", ".join(f"`{key}` {value}" for key, value in record["parameters"].items())
    lines = [
        "# What privacy costs in quality",
        "",
        "Written by `python -m benchmarks.privacy`, which says how it is measured: MovieLens-1M, everybody's newest",
        f"film, {record['people']:,} people, {record['events']:,} events, {record['items']:,} films;",
        f"`{record['model']}` with {given}.",
        f"There are {private['steps']:,} steps, each draws {private['sample_rate']:.1%} of the people; delta is",
        f"{private['delta']:.2g}, gradients are clipped at {private['max_grad_norm']:g}.",
        f"Means of {record['seeds']} seeds, 95% intervals over people.",
        f"Made beside other work, on {record['machine']}.",
        "",
        "![NDCG@10 against epsilon](../docs/privacy.svg)",
        "",
        "| epsilon for each person | noise | NDCG@10 | of each seed | seconds of one core |",
        "| --- | --- | --- | --- | --- |",
    ]
    for run in record["runs"]:
        budget = "none: trained without privacy" if run["epsilon"] is None else f"{run['privacy']['epsilon']:.2f}"
        noise = "" if run["privacy"] is None else f"{run['privacy']['noise_multiplier']:.2f}"
        seeds = ", ".join(f"{one:.4f}" for one in run["of seeds"])
        lines.append(
            f"| {budget} | {noise} | {_interval(run['ndcg@10'])} | {seeds} | "
            f"{', '.join(f'{one:.0f}' for one in run['seconds'])} |"
        )
    lines += [
        f"| popularity, without noise | | {_interval(record['popularity'])} | | |",
        "",
        f"Parameters were chosen with `--choose`, at epsilon {CHOSEN_AT:g}, with a seed of its own, by the films",
        "before the newest:",
        "",
        "| learning rate | passes | NDCG@10 | |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one['learning_rate']} | {one['epochs']} | {one['ndcg@10']:.4f} | "
        f"{'chosen' if all(own[key] == one[key] for key in CHOICES[0]) else ''} |"
        for one in record["choices"]
    ]
    lines += [
        "",
        f"Seconds of one core for a pass over {TIMED_PEOPLE} of the people, with the models' defaults (`--time`); a",
        "private step draws half of them:",
        "",
        "| model | ordinary | private |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {took[0]:.2f} | {took[1]:.2f} |" for name, took in record["passes"].items()),
    ]
    return "\n".join([*lines, ""])


def _interval(mean: list[float]) -> str:
    return f"{mean[0]:.4f} ({mean[1]:.4f} to {mean[2]:.4f})"


def plot(record: dict[str, Any]) -> str:
    """NDCG@10 against epsilon, as SVG, with what there is without privacy and without a person."""
    import altair as alt

    private = [run for run in record["runs"] if run["epsilon"] is not None]
    without = next(run for run in record["runs"] if run["epsilon"] is None)
    rows = [
        {"epsilon": run["epsilon"], **dict(zip(("ndcg", "low", "high"), run["ndcg@10"], strict=True))}
        for run in private
    ]
    levels = [
        {"ndcg": without["ndcg@10"][0], "what": f"{record['model']} without privacy"},
        {"ndcg": record["popularity"][0], "what": "popularity, without noise"},
    ]
    axis = alt.Axis(values=[row["epsilon"] for row in rows], format="~g")
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("epsilon:Q", title="epsilon for each person", scale=alt.Scale(type="log", base=2), axis=axis)
    )
    height = alt.Y("ndcg:Q", title="NDCG@10", scale=alt.Scale(domainMin=0))
    lines = alt.Chart(pl.DataFrame(levels)).encode(y=height)
    layers: list[Any] = [
        base.mark_line(point=True).encode(y=height),
        base.mark_rule().encode(y=alt.Y("low:Q", title="NDCG@10"), y2="high:Q"),
        lines.mark_rule(strokeDash=[6, 4], color="grey"),
        lines.mark_text(align="right", dx=-4, dy=10, color="grey").encode(text="what:N", x=alt.value(480)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.svg"
        alt.layer(*layers).properties(width=480, height=300).save(path)
        return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
