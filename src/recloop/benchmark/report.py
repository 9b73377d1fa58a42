"""Fair comparison on any pair of files: train on one, rank the whole catalogue for every user of the other.

The catalogue is the items of the training file. A user's context is everything in the training and validation files;
the items of that context are masked, test rows among them are dropped, and what remains of a user's test rows is one
set of right answers. A test item outside the catalogue is never found, and counts; so does a test user of whom nothing
is known.

The report holds

- `model`, `config`, `device`, `seed`, and `ranking`: ``full`` or ``sampled``;
- `users`, `items` and `rows` of the training file; `valid_rows`, `test_rows`;
- `test_users` who were ranked for; `cold_users` among them, of whom the training file has nothing;
- `seen_targets` and `repeated_targets`, test rows that were dropped; `unknown_targets`, outside the catalogue;
- `passes` over the data that were made, 0 for a model without passes; `resumed_passes` among them, which a checkpoint
  held; `fit_seconds`; `pass_seconds`, of a pass with its validation but without preparation, null where none was made;
  `rank_seconds`, which include the metrics; `peak_rss_mb` of this process, in MiB;
- `metrics`, name -> mean over test users; `ci95`, name -> bounds of the mean's 95% bootstrap interval over users.
  Coverage and gini are no means and have no interval.
"""

import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from recloop import models
from recloop.benchmark.files import Data, read_attributes, read_interactions
from recloop.benchmark.measures import averages, measure
from recloop.benchmark.options import check_places, check_seed, chosen_device, configs, read_settings, wanted_metrics
from recloop.benchmark.task import Task, make_task
from recloop.data.tables import write_json
from recloop.data.vocabulary import UNKNOWN
from recloop.models.base import FitContext, IterativeModel, Model, TrainingData, check_needs
from recloop.progress import track
from recloop.training.config import EarlyStopping, TrainConfig
from recloop.training.loop import train as train_in_passes

T = TypeVar("T")


def run(
    *,
    train: Path,
    test: Path,
    model: str,
    valid: Path | None = None,
    items: Path | None = None,
    users: Path | None = None,
    knowledge: Path | None = None,
    negatives: Path | None = None,
    settings: Sequence[str] = (),
    metrics: Sequence[str] = ("recall@20", "ndcg@20"),
    seed: int = 0,
    device: str = "auto",
    out: Path | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Train one model on one file and measure how it ranks for the users of another.

    All files are Parquet. Interactions have `user_id` and `item_id`, integers or text, and, where known, `timestamp` or
    `position` (the order of a user's events), and `value`.

    Args:
        train: what the model learns from.
        test: what it has to find.
        model: the model's name.
        valid: events between the two; for early stopping, then context, never learnt from.
        items: attributes of items; a column `categories` makes diversity defined.
        users: attributes of users.
        knowledge: triples.
        negatives: `user_id` and a list `negatives`: rank the test items among these instead of the whole catalogue,
            masking nothing. Such metrics carry the prefix ``sampled_``; they compare with papers and decide nothing.
        settings: ``KEY=VALUE`` parameters of the model, values as in YAML; ``early_stopping.KEY=VALUE`` for what stops
            its training, as in the section `train`.
        metrics: names such as ``ndcg@10``.
        seed: seeds every draw.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: where to write the report as JSON.
        checkpoint: a folder that is kept up to date after each pass: ended at any moment, the same call goes on from
            there, to the same result. By default none is kept.

    Returns:
        The report; the module's docstring lists its keys.

    Raises:
        ConfigError: a metric, parameter, seed or device is unknown or of the wrong form.
        ModelError: the model is unknown or lacks something that it needs.
        DataError: a file or column is missing or cannot be read, nothing is left to ask, or `out` or
            `checkpoint` cannot be written.
    """
    kind = models.find(model)
    config, how = configs(kind, read_settings(settings))
    wanted = wanted_metrics(metrics, kind)
    where = chosen_device(device)
    check_seed(seed)
    check_places(out, checkpoint)
    data = read_interactions(train, test, valid)
    attributes = read_attributes(items, users, knowledge)
    task = make_task(kind, data, attributes, test, negatives)

    trainee = kind(config, len(task.catalogue), where)
    clock = _PassClock()
    started = time.perf_counter()
    passes = _fit(trainee, task.training, how, FitContext(device=where, seed=seed, progress=clock), checkpoint)
    fitted = time.perf_counter()
    values = measure(trainee, task, wanted, attributes.items)
    ranked = time.perf_counter()

    means, ci95 = averages(values, "sampled_" if task.sampled else "", seed)
    report: dict[str, Any] = {
        **_circumstances(trainee, data, task),
        "seed": seed,
        "passes": passes,
        "resumed_passes": passes - clock.steps if passes else 0,
        "fit_seconds": round(fitted - started, 4),
        "pass_seconds": round(clock.seconds / clock.steps, 4) if passes and clock.steps else None,
        "rank_seconds": round(ranked - fitted, 4),
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "metrics": means,
        "ci95": ci95,
    }
    if out is not None:
        write_json(report, out)
    return report


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far, in MiB; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / (1 << 10)


class _PassClock:
    """Shows progress as `track` does, counts the steps that were made and measures how long they took."""

    steps = 0
    seconds = 0.0

    def __call__(self, steps: Iterable[T], description: str) -> Iterator[T]:
        started = time.perf_counter()
        try:
            for step in track(steps, description):
                yield step
                self.steps += 1
        finally:
            self.seconds += time.perf_counter() - started


def _circumstances(model: Model, data: Data, task: Task) -> dict[str, Any]:
    """What was compared on what: the part of the report that is known before anything is trained."""
    cold = task.learners.encode(task.people.ids)[task.asked.users] == UNKNOWN
    return {
        "model": model.name(),
        "config": model.config.model_dump(mode="json"),
        "device": str(model.device),
        "ranking": "sampled" if task.sampled else "full",
        "users": len(task.learners),
        "items": len(task.catalogue),
        "rows": data.train.height,
        "valid_rows": data.valid.height,
        "test_rows": data.test.height,
        "test_users": len(task.asked),
        "cold_users": int(np.count_nonzero(cold)),
        "seen_targets": task.account.seen,
        "repeated_targets": task.account.repeated,
        "unknown_targets": task.account.unknown,
    }


def _fit(model: Model, training: TrainingData, how: EarlyStopping, context: FitContext, checkpoint: Path | None) -> int:
    """Train, and stop early where there is validation; the number of passes made, 0 for a model without."""
    if isinstance(model, IterativeModel):
        return len(train_in_passes(model, training, TrainConfig(early_stopping=how), context, checkpoint).points)
    check_needs(type(model), training)
    model.fit(training, context)
    return 0
