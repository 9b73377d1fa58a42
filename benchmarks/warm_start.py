"""What it gives to retrain from the weights of the champion instead of from fresh ones, on MovieLens-1M.

    python -m benchmarks.warm_start

The data say in which order a person took films, not when, so "time" is each person's own: the champion is trained on
the first 70% of everybody's events and stopped early on the next 10%; it is retrained on the first 80%, stopped early
on the next 10% and asked for the newest 10%, of which QUESTIONS are drawn once for all. That is kinder than life: there
are no new people, and few new films. Of the people, some are drawn for models that are slow to train.

All ways of retraining have the same seed, data and parameters (the defaults); full retraining and the warm start also
have the same early stopping, the default. A warm model has made the champion's passes too, so a full retraining that
stops later, after PATIENCE validations without a new best, is there to tell a better beginning from more passes; slow
models have it for fewer seeds. The questions of the newest slice are asked once of each trained model, and nothing is
chosen by them. Means are over people and then over seeds; the interval of a difference is a bootstrap over the people,
of their mean over seeds. Seconds are those that the processor, one thread of it, worked from the beginning of training
to the pass that was best in validation, validations included; other work on it does not count.

Results go to `benchmarks/warm_start.json`, from which `benchmarks/WARM_START.md` is written.
"""

import argparse
import itertools
import json
import os
import platform
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.published.protocols import ROOT, source
from recloop import metrics, models
from recloop.columns import ITEM, TIME, USER, VALUE
from recloop.data.sequences import Examples
from recloop.data.splits import examples
from recloop.data.tables import TIMESTAMP, Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.evaluation.significance import bootstrap_mean
from recloop.metrics import Ranking
from recloop.models.base import FitContext, IterativeModel, TrainingData
from recloop.retrieval.exact import rank_examples
from recloop.training.config import EarlyStopping, TrainConfig
from recloop.training.loop import train
from recloop.training.warm_start import Start

RESULTS = ROOT / "benchmarks" / "warm_start.json"
TABLE = ROOT / "benchmarks" / "WARM_START.md"
NDCG = metrics.parse("ndcg@10")
QUESTIONS = 10_000
PEOPLE = {"als": 6040, "bpr": 6040, "sasrec": 1500}
"""How many people learn and are asked."""
UNCHANGED, FULL, WARM, PATIENT = "the champion as it is", "full retraining", "warm start", "full retraining, patient"
WAYS = (UNCHANGED, FULL, WARM, PATIENT)
PATIENCE = 10
"""Validations without a new best before a patient training stops; the default is 3."""
PATIENT_SEEDS = {"als": 3, "bpr": 3, "sasrec": 1}
"""How many of the seeds are trained patiently too; its difference is over these."""


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Canonical interactions in four parts, by each person's own order."""

    first: pl.DataFrame
    next: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame


@dataclass
class Run:
    """What a training brought."""

    model: IterativeModel
    passes: int
    best: int
    seconds: float


def main() -> None:
    """Train a champion for each model and seed, retrain it both ways, ask."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_start")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=[*PEOPLE], choices=[*PEOPLE])
    options = parser.parse_args()
    torch.set_num_threads(1)
    everything = interactions()
    record: dict[str, Any] = {"models": {}, "seeds": options.seeds}
    for name in options.models:
        record["models"][name] = compared(name, cut(some(everything, PEOPLE[name])), options.seeds)
    record["machine"] = f"{platform.machine()}, one thread, {os.cpu_count()} cores, torch {torch.__version__}"
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    TABLE.write_text(table(record))


def interactions() -> pl.DataFrame:
    """All events, canonical; the time is the place in the person's own order."""
    frame = pl.read_parquet(source("ml-1m/interactions.parquet"))
    return frame.select(
        pl.col("user_id").cast(pl.String).alias(USER),
        pl.col("item_id").cast(pl.String).alias(ITEM),
        pl.col("position").cast(pl.Int64).cast(TIMESTAMP).alias(TIME),
        pl.lit(1.0, dtype=pl.Float32).alias(VALUE),
    ).sort(USER, TIME)


def some(events: pl.DataFrame, people: int) -> pl.DataFrame:
    """The events of so many people, drawn at random."""
    drawn = np.random.default_rng(0).permutation(events[USER].unique().sort().to_numpy())[:people]
    return events.filter(pl.col(USER).is_in(drawn.tolist()))


def cut(events: pl.DataFrame) -> Slices:
    """The first 70%, the next 10%, the next 10% and the newest 10% of each person's events."""
    share = pl.int_range(pl.len()).over(USER) / pl.len().over(USER)
    bounds = (0.0, 0.7, 0.8, 0.9, 1.0)
    parts = [events.filter((share >= low) & (share < high)) for low, high in itertools.pairwise(bounds)]
    return Slices(first=parts[0], next=parts[1], valid=parts[2], test=parts[3])


def learnt(before: pl.DataFrame, after: pl.DataFrame) -> tuple[Vocabulary, TrainingData]:
    """The catalogue and what there is to learn from `before`, with the events of `after` as validation."""
    items = Vocabulary(before[ITEM])
    data = TrainingData.from_tables(before, items, Attributes())
    return items, replace(data, valid=examples(before, after, items, mode="successive")[0])


def compared(name: str, slices: Slices, seeds: int) -> dict[str, Any]:
    """What each way of retraining brings for one model."""
    both = pl.concat([slices.first, slices.next])
    old_items, old = learnt(slices.first, slices.next)
    items, new = learnt(both, slices.valid)
    asked = examples(pl.concat([both, slices.valid]), slices.test, items, mode="successive")[0]
    count = min(QUESTIONS, len(asked))
    asked = asked.take(np.sort(np.random.default_rng(1).permutation(len(asked))[:count]))
    values: dict[str, list[NDArray[np.float64]]] = {way: [] for way in WAYS}
    runs: dict[str, list[Run]] = {way: [] for way in WAYS[1:]}
    for seed in range(seeds):
        champion = trained(name, old, seed).model
        start = Start(id="champion", tensors=champion.tensors(), rows=old_items.encode(items.ids))
        kind = models.find(name)
        unchanged = kind(kind.Config(), new.n_items)
        assert isinstance(unchanged, IterativeModel), f"{name} is not trained in passes"
        unchanged.begin(new, FitContext(device=torch.device("cpu"), seed=seed))
        unchanged.warm_start(start.tensors, start.rows)
        values[UNCHANGED].append(ask(unchanged, asked))
        for way in WAYS[1:] if seed < PATIENT_SEEDS[name] else (FULL, WARM):
            patience = PATIENCE if way == PATIENT else EarlyStopping().patience
            runs[way].append(trained(name, new, seed, start if way == WARM else None, patience))
            values[way].append(ask(runs[way][-1].model, asked))
            run = runs[way][-1]
            print(
                f"{name}, seed {seed}, {way}: {values[way][-1].mean():.4f}, best of {run.passes} passes is {run.best}, "
                f"{run.seconds:.0f} s",
                flush=True,
            )
    return {
        "people": len(new.histories),
        "events": {"champion": slices.first.height, "retrained": both.height},
        "items": {"champion": len(old_items), "new": len(items) - len(old_items)},
        "asked": len(asked),
        "ndcg@10": {way: float(np.mean(found)) for way, found in values.items()},
        "gain": {way: _gain(found, values[FULL]) for way, found in values.items() if way != FULL},
        "passes": {way: [run.best for run in found] for way, found in runs.items()},
        "seconds": {way: [round(run.seconds, 1) for run in found] for way, found in runs.items()},
    }


def _gain(found: list[NDArray[np.float64]], full: list[NDArray[np.float64]]) -> list[float]:
    """Mean and bounds of the difference to full retraining with the same seeds."""
    difference = np.mean(found, axis=0) - np.mean(full[: len(found)], axis=0)
    return list(bootstrap_mean(difference, seed=0))


def trained(
    name: str,
    data: TrainingData,
    seed: int,
    start: Start | None = None,
    patience: int | None = EarlyStopping().patience,
) -> Run:
    """A model with its best weights, and how long it took to get there."""
    kind = models.find(name)
    model = kind(kind.Config(), data.n_items)
    assert isinstance(model, IterativeModel), f"{name} is not trained in passes"
    began, moments = time.process_time(), dict[int, float]()

    def watch(epoch: int, value: float) -> None:
        del value
        moments[epoch] = time.process_time() - began

    context = FitContext(device=torch.device("cpu"), seed=seed)
    config = TrainConfig(early_stopping=EarlyStopping(patience=patience))
    curves = train(model, data, config, context, start=start, watch=watch)
    return Run(model, len(curves.points), curves.best_epoch, moments[curves.best_epoch])


def ask(model: IterativeModel, questions: Examples) -> NDArray[np.float64]:
    """NDCG@10 of each person, the mean over the questions."""
    answers = list(rank_examples(model, questions, 10))
    ranking = Ranking(
        ranks=np.concatenate([answer.ranks for answer in answers]),
        offsets=questions.offsets,
        n_candidates=np.concatenate([answer.n_candidates for answer in answers]),
    )
    _, whose = np.unique(questions.users, return_inverse=True)
    return np.bincount(whose, weights=np.asarray(NDCG(ranking))) / np.bincount(whose)


def table(record: dict[str, Any]) -> str:
    """WARM_START.md."""
    head = ("model", "people", "new items", "way", "NDCG@10", "against full retraining", "best pass", "seconds to it")
    lines = [
        "# What a warm start gives to retraining",
        "",
        "Written by `python -m benchmarks.warm_start`, which says how it is measured: a champion trained on the first",
        "70% of everybody's events on MovieLens-1M is retrained on the first 80%, from fresh weights or from its own.",
        f"NDCG@10 on the newest 10%, mean over people and {record['seeds']} seeds, 95% intervals over people; the best",
        f"pass and the seconds of each seed. Made beside other work, on {record['machine']}.",
        "",
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
    ]
    for name, found in record["models"].items():
        items = found["items"]
        for way in WAYS:
            gain = found["gain"].get(way)
            against = f"{gain[0]:+.4f} ({gain[1]:+.4f} to {gain[2]:+.4f})" if gain else ""
            passes = ", ".join(str(best) for best in found["passes"].get(way, []))
            seconds = ", ".join(f"{one:.0f}" for one in found["seconds"].get(way, []))
            lines.append(
                f"| `{name}` | {found['people']:,} | {items['new']} of {items['champion'] + items['new']:,} | {way} | "
                f"{found['ndcg@10'][way]:.4f} | {against} | {passes} | {seconds} |"
            )
    lines += [
        "",
        f"The patient one stops after {PATIENCE} validations without a new best instead of {EarlyStopping().patience}:",
        "a warm model has made the champion's passes too, so part of a gain may come of more passes in all. It is",
        "compared with full retraining over the seeds that it has. The champion as it is shows how little these data",
        "age.",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
