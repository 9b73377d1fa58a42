"""Full ranking: every model ranks its whole catalogue for every question, and all metrics are taken from that.

Per-example metrics are averaged over the questions of a user, then over users, so that nobody counts more than another.
Never more than one batch of scores is in memory.

Shapes: E examples, U users, I items of the catalogue, C categories, K places of a slate.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from recloop.columns import CATEGORIES, ITEM, TIME, USER
from recloop.config import Config, Seed
from recloop.data.sequences import Examples
from recloop.data.tables import TIMESTAMP
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.devices import DeviceName
from recloop.errors import ConfigError
from recloop.evaluation.questions import Questions
from recloop.evaluation.significance import bootstrap_mean
from recloop.evaluation.slices import SLICES
from recloop.metrics import Metric, Predictions, Ranking, Slates, depth, parse
from recloop.models.base import Model, silent
from recloop.retrieval.exact import rank_examples

Floats = NDArray[np.float64]

METRICS = (
    "ndcg@10", "recall@10", "precision@10", "f1@10", "map@10", "mrr@10", "hit@10", "auc", "coverage@10", "novelty@10",
    "diversity@10", "gini@10", "popularity_bias@10", "rmse", "mae",
)  # fmt: skip


class EvaluateConfig(Config):
    """How models are evaluated.

    Attributes:
        metrics: which, by name and cut-off; those that are not defined for a model or for the data are left out, such
            as rmse for a model that does not predict ratings, or diversity where items have no categories. A model that
            needs values is a model of ratings, and its scores are predictions of them. The first metric that is taken
            per question is the one that is reported for each slice.
        k: how many items each stored slate holds.
        mask_seen: do not recommend what is in the context, and do not ask for it.
        prompted: whether to ask for what followed from a slate. Such events are on what the champion chose to show, so
            asking for them favours the champion, whoever is right: ``auto`` leaves them out if at least half of the
            people of the test window have others, ``leave_out`` always does, and ``ask`` never.
        max_examples: ask at most about so many users as this many questions allow; null asks about all.
        max_slates: how many slates, evenly spaced over the questions, are stored.
        provider: the column of the items that names who provides each; without it, provider_share and provider_parity
            are not defined.
        bootstrap_samples: how often users are resampled for an interval.
        seed: seeds the draw of users and the bootstrap.
        device: where to compute.
    """

    metrics: tuple[str, ...] = Field(default=METRICS, min_length=1)
    k: int = Field(default=10, ge=1)
    mask_seen: bool = True
    prompted: Literal["auto", "leave_out", "ask"] = "auto"
    max_examples: int | None = Field(default=200_000, ge=1)
    max_slates: int = Field(default=1000, ge=0)
    provider: str | None = None
    bootstrap_samples: int = Field(default=1000, ge=100)
    seed: Seed = 0
    device: DeviceName = "auto"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How one model answered.

    Attributes:
        model: its name.
        users: `user_id`, one column a metric that is defined per user (null where it is not for that user), and
            `examples`, the number of questions about that user.
        metrics: every metric's value.
        ci95: 95% bootstrap intervals of those that are means over users.
        slices: slice -> ``users`` and ``examples`` in it, and the first metric for these examples alone.
        slates: `user_id`, `timestamp` of the question, ``items`` and ``scores``, best first: what the model recommends
            to that user on the strength of all earlier events.
        examples: number of questions.
        available: number of questions before users were sampled.
        unknown: targets that are not in the model's catalogue: misses for it.
        left_out: events of the test window that were not asked for because they followed from a slate.
        questions: fingerprint of the questions; evaluations can be compared only where it is equal.
    """

    model: str
    users: pl.DataFrame
    metrics: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    slices: dict[str, dict[str, float]]
    slates: pl.DataFrame
    examples: int
    available: int
    unknown: int
    left_out: int
    questions: str

    def record(self) -> dict[str, Any]:
        """Everything but the frames, as plain values for JSON."""
        return {
            "model": self.model,
            "users": self.users.height,
            "examples": self.examples,
            "sampled": self.examples < self.available,
            "examples_available": self.available,
            "unknown_targets": self.unknown,
            "prompted_left_out": self.left_out,
            "questions": self.questions,
            "metrics": self.metrics,
            "ci95": {name: list(interval) for name, interval in self.ci95.items()},
            "slices": self.slices,
        }


def evaluate(
    model: Model,
    catalogue: Vocabulary,
    questions: Questions,
    config: EvaluateConfig,
    *,
    items: pl.DataFrame | None = None,
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = silent,
) -> Evaluation:
    """Let `model` answer `questions` and measure the answers.

    Args:
        model: ready to score.
        catalogue: what the model's item indices mean.
        questions: see `recloop.evaluation.questions.ask`.
        config: which metrics.
        items: attributes of items; the column `categories` makes diversity defined, and the one that
            `config.provider` names makes provider_share and provider_parity so.
        progress: wraps an iterable of steps and shows it under a description.

    Raises:
        ConfigError: a metric is unknown, or its cut-off is missing or superfluous; or `config.provider` is no column
            of `items` with one value a cell.
    """
    wanted = [parse(name) for name in dict.fromkeys(config.metrics)]
    examples = questions.examples(catalogue)
    answers = _answer(model, examples, questions, max(config.k, depth(wanted)), progress)
    given = {
        Ranking: answers.ranking,
        Slates: Slates(
            items=answers.items,
            popularity=questions.popularity(catalogue),
            features=None if items is None else categories(items, catalogue),
            providers=None
            if items is None or config.provider is None
            else providers(items, catalogue, config.provider),
        ),
    }
    rows, user = np.unique(examples.users, return_inverse=True)
    users, metrics = {USER: questions.users.ids.gather(rows)}, dict[str, float]()
    per_example: dict[str, Floats] = {}
    for metric in wanted:
        if metric.takes is Predictions:
            if "values" not in model.needs:
                continue
            values = _errors(metric, examples, answers.target_scores, user, len(rows))
        elif metric.per_example:
            per_example[metric.name] = metric(given[metric.takes])
            values = _per_user(per_example[metric.name], user, len(rows))
        else:
            value = float(metric(given[metric.takes]))
            if not np.isnan(value):
                metrics[metric.name] = value
            continue
        if not np.isnan(values).all():
            users[metric.name] = pl.Series(values, nan_to_null=True)
    intervals = {
        name: bootstrap_mean(column.drop_nulls().to_numpy(), seed=config.seed, samples=config.bootstrap_samples)
        for name, column in users.items()
        if name != USER
    }
    metrics |= {name: interval.mean for name, interval in intervals.items()}
    return Evaluation(
        model=model.name(),
        users=pl.DataFrame(users | {"examples": np.bincount(user)}),
        metrics={metric.name: metrics[metric.name] for metric in wanted if metric.name in metrics},
        ci95={name: (interval.low, interval.high) for name, interval in intervals.items()},
        slices=_slices(questions, per_example, user, len(rows)),
        slates=_slates(questions, catalogue, answers, config),
        examples=len(questions),
        available=questions.available,
        unknown=int(np.count_nonzero(examples.targets == UNKNOWN)),
        left_out=questions.left_out,
        questions=questions.fingerprint(),
    )


def categories(items: pl.DataFrame, catalogue: Vocabulary) -> sparse.csr_matrix | None:
    """Which categories each item of `catalogue` is in, 0 or 1, sparse (I, C); `None` without a column `categories`.

    A cell of that column is a list, or one category.
    """
    if CATEGORIES not in items.columns:
        return None
    listed = items.select(ITEM, CATEGORIES)
    if isinstance(listed.schema[CATEGORIES], pl.List | pl.Array):
        listed = listed.explode(CATEGORIES)
    listed = listed.with_columns(pl.col(CATEGORIES).cast(pl.String)).drop_nulls().unique()
    names = Vocabulary(listed[CATEGORIES])
    item, name = catalogue.encode(listed[ITEM]), names.encode(listed[CATEGORIES])
    known = item != UNKNOWN
    cells = (np.ones(np.count_nonzero(known), dtype=np.float32), (item[known], name[known]))
    return sparse.csr_matrix(cells, shape=(len(catalogue), len(names)))


def providers(items: pl.DataFrame, catalogue: Vocabulary, column: str) -> NDArray[np.int64]:
    """Who provides each item of `catalogue`, int64 (I,): ranks of the names in `column`, -1 where there is none.

    Raises:
        ConfigError: `items` has no such column, or its cells are lists.
    """
    choices = [name for name, kind in items.schema.items() if name != ITEM and not kind.is_nested()]
    if column not in choices:
        raise ConfigError(
            f"params.yaml: evaluate.provider is '{column}', which is no column of the items with one value a cell; "
            f"choose from: {', '.join(choices) or 'none, the items have no such column'}."
        )
    named = items.select(ITEM, pl.col(column).cast(pl.String)).drop_nulls()
    item = catalogue.encode(named[ITEM])
    named, item = named.filter(pl.Series(item != UNKNOWN)), item[item != UNKNOWN]
    provider = np.full(len(catalogue), -1, dtype=np.int64)
    provider[item] = Vocabulary(named[column]).encode(named[column])
    return provider


@dataclass(frozen=True, kw_only=True)
class _Answers:
    ranking: Ranking
    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    target_scores: NDArray[np.float32]


def _answer(
    model: Model,
    examples: Examples,
    questions: Questions,
    k: int,
    progress: Callable[[Iterable[Any], str], Iterable[Any]],
) -> _Answers:
    n_targets = len(examples.targets)
    answers = _Answers(
        ranking=Ranking(
            ranks=np.empty(n_targets, dtype=np.int64),
            offsets=examples.offsets,
            n_candidates=np.empty(len(examples), dtype=np.int64),
        ),
        items=np.empty((len(examples), k), dtype=np.int64),
        scores=np.empty((len(examples), k), dtype=np.float32),
        target_scores=np.empty(n_targets, dtype=np.float32),
    )
    for batch in rank_examples(model, examples, k, mask_seen=questions.mask_seen, progress=progress):
        here = slice(batch.start, batch.stop)
        there = slice(examples.offsets[batch.start], examples.offsets[batch.stop])
        answers.ranking.n_candidates[here] = batch.n_candidates
        answers.items[here] = batch.top.items
        answers.scores[here] = batch.top.scores
        answers.ranking.ranks[there] = batch.ranks
        answers.target_scores[there] = batch.target_scores
    return answers


def _errors(
    metric: Metric, examples: Examples, predicted: NDArray[np.float32], user: NDArray[np.int64], n_users: int
) -> Floats:
    """A metric of predicted ratings per user, (U,); NaN where no rating was predicted."""
    values = np.full(n_users, np.nan)
    known = ~np.isnan(predicted)
    if known.any():
        owners = np.repeat(user, np.diff(examples.offsets))[known]
        rows, owner = np.unique(owners, return_inverse=True)
        values[rows] = metric(Predictions(predicted=predicted[known], actual=examples.values[known], users=owner))
    return values


def _per_user(values: Floats, user: NDArray[np.int64], n_users: int) -> Floats:
    """The mean over the examples of each user for which the value is defined, (U,); NaN where there is none."""
    defined = ~np.isnan(values)
    total = np.bincount(user[defined], weights=values[defined], minlength=n_users)
    counts = np.bincount(user[defined], minlength=n_users)
    return np.divide(total, counts, out=np.full(n_users, np.nan), where=counts > 0)


def _slices(
    questions: Questions, per_example: Mapping[str, Floats], user: NDArray[np.int64], n_users: int
) -> dict[str, dict[str, float]]:
    report: dict[str, dict[str, float]] = {}
    for name, slice_ in SLICES.items():
        inside = slice_(questions.facts)
        report[name] = {"users": len(np.unique(user[inside])), "examples": int(np.count_nonzero(inside))}
        for metric, values in islice(per_example.items(), 1):
            means = _per_user(values[inside], user[inside], n_users)
            if not np.isnan(means).all():
                report[name][metric] = float(np.nanmean(means))
    return report


def _slates(questions: Questions, catalogue: Vocabulary, answers: _Answers, config: EvaluateConfig) -> pl.DataFrame:
    n_slates = min(config.max_slates, len(questions))
    chosen = np.linspace(0, len(questions) - 1, n_slates).astype(np.int64)
    items, scores = answers.items[chosen, : config.k], answers.scores[chosen, : config.k]
    row, place = np.nonzero(items != UNKNOWN)
    places = pl.DataFrame(
        {
            "row": row,
            "items": catalogue.ids.gather(items[row, place]),
            "scores": scores[row, place],
        }
    )
    lists = places.group_by("row", maintain_order=True).agg("items", "scores")
    asked = pl.DataFrame(
        {
            "row": np.arange(n_slates),
            USER: questions.users.ids.gather(questions.facts.examples.users[chosen]),
            TIME: pl.Series(questions.times[chosen]).cast(TIMESTAMP),
        }
    )
    return asked.join(lists, on="row", how="left", maintain_order="left").drop("row")


__all__ = ["EvaluateConfig", "Evaluation", "categories", "evaluate"]
