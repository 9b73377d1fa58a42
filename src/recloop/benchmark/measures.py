"""How well a trained model answers a task: each metric of each question, and their means.

Shapes: E test users, K places of a slate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.benchmark.task import Task
from recloop.data.sequences import Examples
from recloop.errors import DataError
from recloop.evaluation.ranking import categories
from recloop.evaluation.significance import bootstrap_mean
from recloop.metrics import Floats, Metric, Predictions, Ranking, Slates, depth
from recloop.models.base import Model
from recloop.progress import track
from recloop.retrieval.exact import Candidates, rank_examples


def measure(
    model: Model, task: Task, wanted: Sequence[Metric], features: pl.DataFrame | None
) -> dict[str, Floats | float]:
    """Each metric by its name: a value a test user, (E,), or one number for all."""
    answers = _answer(model, task.asked, task.candidates, depth(wanted))
    slates = Slates(
        items=answers.items,
        popularity=np.bincount(task.training.histories.items, minlength=len(task.catalogue)),
        features=None if features is None else categories(features, task.catalogue),
    )
    return {metric.name: metric(answers.given(metric.takes, slates)) for metric in wanted}


def averages(
    values: Mapping[str, Floats | float], prefix: str, seed: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The mean of each metric under its name behind `prefix`, and the bounds of the mean's 95% interval, if it has one.

    Raises:
        DataError: a metric is not defined for any test user.
    """
    means: dict[str, float] = {}
    ci95: dict[str, list[float]] = {}
    for name, value in values.items():
        if not isinstance(value, np.ndarray):
            means[prefix + name] = value
            continue
        defined = value[~np.isnan(value)]
        if not len(defined):
            raise DataError(
                f"Metric '{name}' is not defined for any test user of these files; leave it out, or give what it "
                "needs, such as items with categories for diversity."
            )
        interval = bootstrap_mean(defined, seed=seed)
        means[prefix + name] = interval.mean
        ci95[prefix + name] = [interval.low, interval.high]
    return means, ci95


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """What metrics are computed from; `items` is (E, K)."""

    ranking: Ranking
    predictions: Predictions
    items: NDArray[np.int64]

    def given(self, kind: type, slates: Slates) -> Ranking | Predictions | Slates:
        return {Ranking: self.ranking, Predictions: self.predictions, Slates: slates}[kind]


def _answer(model: Model, asked: Examples, candidates: Candidates | None, k: int) -> _Answers:
    batches = list(rank_examples(model, asked, k, mask_seen=candidates is None, candidates=candidates, progress=track))
    predicted = np.concatenate([batch.target_scores for batch in batches])
    known = ~np.isnan(predicted)
    owners = np.repeat(np.arange(len(asked)), np.diff(asked.offsets))[known]
    return _Answers(
        ranking=Ranking(
            ranks=np.concatenate([batch.ranks for batch in batches]),
            offsets=asked.offsets,
            n_candidates=np.concatenate([batch.n_candidates for batch in batches]),
        ),
        predictions=Predictions(
            predicted=predicted[known],
            actual=asked.values[known],
            users=np.unique(owners, return_inverse=True)[1],
        ),
        items=np.concatenate([batch.top.items for batch in batches]),
    )
