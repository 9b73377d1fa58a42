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

Shapes: E test users, I items of the catalogue, T targets.
"""

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np
import polars as pl
import torch
import yaml
from numpy.typing import NDArray

from recloop import devices, models
from recloop.columns import ITEM, TIME, USER, VALUE
from recloop.config import SEEDS, parse
from recloop.data.sequences import Examples
from recloop.data.splits import Account, examples
from recloop.data.tables import (
    TIMESTAMP,
    Attributes,
    canonical_attributes,
    canonical_interactions,
    canonical_knowledge,
    read_parquet,
    require_columns,
    write_json,
)
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import ConfigError, DataError
from recloop.evaluation.ranking import categories
from recloop.evaluation.significance import bootstrap_mean
from recloop.metrics import Metric, Predictions, Ranking, Slates, depth
from recloop.metrics import parse as parse_metric
from recloop.models.base import FitContext, IterativeModel, Model, ModelConfig, TrainingData, check_needs
from recloop.progress import track
from recloop.retrieval.exact import Candidates, rank_examples
from recloop.training.config import EarlyStopping, TrainConfig
from recloop.training.loop import train as train_in_passes

T = TypeVar("T")

POSITION = "position"
NEGATIVES = "negatives"
SAMPLED = "sampled_"
_STOPPING = "early_stopping."


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
    config, how = _configs(kind, read_settings(settings))
    wanted = _wanted(metrics, kind)
    where = _device(device)
    _check_seed(seed)
    _check_places(out, checkpoint)
    data = _read(train, test, valid)
    attributes = _attributes(items, users, knowledge)
    task = _task(kind, data, attributes, test, negatives)

    trainee = kind(config, len(task.catalogue), where)
    clock = _PassClock()
    started = time.perf_counter()
    passes = _fit(trainee, task.training, how, FitContext(device=where, seed=seed, progress=clock), checkpoint)
    fitted = time.perf_counter()
    values = _measure(trainee, task, wanted, attributes.items)
    ranked = time.perf_counter()

    means, ci95 = _means(values, SAMPLED if task.sampled else "", seed)
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


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """What ``--set KEY=VALUE`` means, values as in YAML; of the same key twice the last.

    Raises:
        ConfigError: a pair is not of that form, or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (key.strip() and sign):
            raise ConfigError(f"--set {pair!r} is not KEY=VALUE; write for example --set regularization=100.")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {pair!r} has a value that is not valid YAML; quote or correct it.") from None
    return values


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


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Canonical interactions; the time of all of `test` lies after the others."""

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What the files come to in terms of indices: what to learn from, and what is asked.

    Attributes:
        catalogue: the items of `train`, and those of the items table for a model that can score unseen ones.
        learners: the users of `train`.
        training: what the model may learn from.
        asked: one question a test user.
        people: the users of `test`, whose index is `Examples.users`.
        account: what became of the test rows.
        candidates: what alone is ranked for each question; `None` for the whole catalogue.
    """

    catalogue: Vocabulary
    learners: Vocabulary
    training: TrainingData
    asked: Examples
    people: Vocabulary
    account: Account
    candidates: Candidates | None

    @property
    def sampled(self) -> bool:
        return self.candidates is not None


@dataclass(frozen=True, kw_only=True)
class _Answers:
    ranking: Ranking
    predictions: Predictions
    items: NDArray[np.int64]

    def given(self, kind: type, slates: Slates) -> Ranking | Predictions | Slates:
        return {Ranking: self.ranking, Predictions: self.predictions, Slates: slates}[kind]


def _configs(kind: type[Model], values: Mapping[str, Any]) -> tuple[ModelConfig, EarlyStopping]:
    """What the settings say of the model, and of when its training stops."""
    stops = {key.removeprefix(_STOPPING): value for key, value in values.items() if key.startswith(_STOPPING)}
    own = {key: value for key, value in values.items() if not key.startswith(_STOPPING)}
    return parse(kind.Config, own, "--set"), parse(EarlyStopping, stops, f"--set {_STOPPING[:-1]}")


def _wanted(names: Sequence[str], kind: type[Model]) -> list[Metric]:
    wanted = list({metric.name: metric for metric in map(parse_metric, names)}.values())
    for metric in wanted:
        if metric.takes is Predictions and "values" not in kind.needs:
            raise ConfigError(
                f"Metric '{metric.name}' needs a model that predicts ratings, which {kind.name()} does not; "
                "leave the metric out."
            )
    return wanted


def _device(name: str) -> torch.device:
    if name not in get_args(devices.DeviceName):
        raise ConfigError(f"device is {name!r}, but it must be 'auto', 'cpu' or 'cuda'; correct it.")
    return devices.choose(cast("devices.DeviceName", name))


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed is {seed}, but it must be a whole number from 0 to {SEEDS - 1}; correct it.")


def _check_places(out: Path | None, checkpoint: Path | None) -> None:
    """Refuse places where the report or the checkpoint could not be written, before any work is done."""
    if out is not None and out.is_dir():
        raise DataError(f"{out} is a folder, but the report is a file; name one, for example {out / 'report.json'}.")
    if checkpoint is not None and checkpoint.exists() and not checkpoint.is_dir():
        raise DataError(f"{checkpoint} is a file, but checkpoints lie in a folder; name another place.")
    for place, inside in ((out, False), (checkpoint, True)):
        if place is None:
            continue
        path = place.absolute()
        folder = next(parent for parent in ([path] if inside else []) + [*path.parents] if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise DataError(f"{place} cannot be written, as {folder} is not a folder to write to; name another place.")


def _read(train: Path, test: Path, valid: Path | None) -> _Data:
    learnt, held = _plain(train), _plain(test)
    between = learnt.clear() if valid is None else _plain(valid)
    shared = _order(learnt, between)
    learnt = _canonical(learnt, shared or _order(learnt), str(train))
    between = _canonical(between, shared or _order(between), str(valid))
    if shared is None:
        between = _moved(between, _last(learnt) + 1)
    held = _moved(_canonical(held, None, str(test)), _last(pl.concat([learnt, between])) + 1)
    return _Data(train=learnt, valid=between, test=held)


def _order(*frames: pl.DataFrame) -> str | None:
    """The column by which all `frames` order their events, if any."""
    return next((name for name in (TIME, POSITION) if all(name in frame.columns for frame in frames)), None)


def _last(frame: pl.DataFrame) -> int:
    """The newest time, in microseconds."""
    return int(frame[TIME].cast(pl.Int64).to_numpy().max())


def _moved(frame: pl.DataFrame, start: int) -> pl.DataFrame:
    """The same events in the same order, the first of them at `start`, in microseconds."""
    time = pl.col(TIME).cast(pl.Int64)
    return frame.with_columns((time - time.min() + start).cast(TIMESTAMP).alias(TIME))


def _plain(path: Path) -> pl.DataFrame:
    frame = read_parquet(path)
    require_columns(frame, (USER, ITEM), str(path))
    if frame.is_empty():
        raise DataError(f"{path} holds no rows; give interactions.")
    columns = [name for name in (USER, ITEM, TIME, POSITION, VALUE) if name in frame.columns]
    for name in columns:
        if empty := frame[name].null_count():
            raise DataError(f"{path}: {empty} cell(s) of '{name}' are empty; fill them or leave the rows out.")
    return frame.select(columns).with_columns(_ids(frame, name, path) for name in (USER, ITEM))


def _ids(frame: pl.DataFrame, name: str, path: Path) -> pl.Series:
    kind = frame.schema[name]
    if not (kind.is_integer() or isinstance(kind, pl.String | pl.Categorical | pl.Enum)):
        raise DataError(f"{path}: '{name}' has type {kind}, but ids must be integers or text; convert them.")
    return frame[name].cast(pl.String)


def _canonical(frame: pl.DataFrame, order: str | None, origin: str) -> pl.DataFrame:
    """Interactions in canonical form; their time is the column `order`, or 1970 for all where there is none."""
    if order == POSITION and not frame.schema[POSITION].is_integer():
        raise DataError(
            f"{origin}: '{POSITION}' has type {frame.schema[POSITION]}, but must be an integer; convert it."
        )
    if order != TIME:
        when = pl.lit(0, dtype=pl.Int64) if order is None else pl.col(order).cast(pl.Int64)
        frame = frame.with_columns(when.cast(TIMESTAMP).alias(TIME))
    made = canonical_interactions(frame, origin)
    if wrong := made.height - int(made[VALUE].is_finite().sum()):
        raise DataError(
            f"{origin}: {wrong} cell(s) of '{VALUE}' are not finite numbers; correct them or leave the rows out."
        )
    return made


def _attributes(items: Path | None, users: Path | None, knowledge: Path | None) -> Attributes:
    return Attributes(
        items=None if items is None else canonical_attributes(read_parquet(items), ITEM, str(items)),
        users=None if users is None else canonical_attributes(read_parquet(users), USER, str(users)),
        knowledge=None if knowledge is None else canonical_knowledge(read_parquet(knowledge), str(knowledge)),
    )


def _task(kind: type[Model], data: _Data, attributes: Attributes, test: Path, negatives: Path | None) -> _Task:
    catalogue, learners = models.catalogue(kind, data.train, attributes.items), Vocabulary(data.train[USER])
    asked, people, account = examples(
        pl.concat([data.train, data.valid]),
        data.test,
        catalogue,
        mode="all",
        mask_seen=negatives is None,
        people=attributes.users,
    )
    if not len(asked):
        raise DataError(f"{test} leaves nothing to find, as training has all of its rows; give other test rows.")
    return _Task(
        catalogue=catalogue,
        learners=learners,
        training=replace(
            TrainingData.from_tables(data.train, catalogue, attributes),
            valid=_validation(data, catalogue, attributes.users),
        ),
        asked=asked,
        people=people,
        account=account,
        candidates=None if negatives is None else _candidates(negatives, asked, people, catalogue),
    )


def _validation(data: _Data, catalogue: Vocabulary, people: pl.DataFrame | None) -> Examples | None:
    """All validation rows of a user as one question, whose context is the training rows."""
    if data.valid.is_empty():
        return None
    later = _moved(data.valid, _last(data.train) + 1)
    asked = examples(data.train, later, catalogue, mode="all", people=people)[0]
    return asked if len(asked) else None


def _circumstances(model: Model, data: _Data, task: _Task) -> dict[str, Any]:
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


def _candidates(path: Path, asked: Examples, people: Vocabulary, catalogue: Vocabulary) -> Candidates:
    """The listed negatives and the right answers of each test user, as far as they are in the catalogue."""
    frame = read_parquet(path)
    require_columns(frame, (USER, NEGATIVES), str(path))
    if not isinstance(frame.schema[NEGATIVES], pl.List):
        raise DataError(
            f"{path}: '{NEGATIVES}' has type {frame.schema[NEGATIVES]}, but must be a list of item ids; "
            "group them by user."
        )
    lists = frame.select(_ids(frame, USER, path), NEGATIVES)
    rows = lists.explode(NEGATIVES).drop_nulls()
    example = np.full(len(people) + 1, UNKNOWN)  # the last place is that of UNKNOWN users
    example[asked.users] = np.arange(len(asked))
    lacking = np.setdiff1d(np.arange(len(asked)), example[people.encode(rows[USER])])
    if len(lacking):
        raise DataError(
            f"{path} lists no negatives for {len(lacking)} test user(s), the first is "
            f"'{people.ids[int(asked.users[lacking[0]])]}'; add them or drop these test rows."
        )
    own = np.repeat(np.arange(len(asked)), np.diff(asked.offsets))
    owners = np.concatenate([example[people.encode(rows[USER])], own])
    items = np.concatenate([catalogue.encode(_ids(rows, NEGATIVES, path)), asked.targets])
    usable = np.flatnonzero((owners != UNKNOWN) & (items != UNKNOWN))
    usable = usable[np.argsort(owners[usable], kind="stable")]
    return Candidates(offsets=np.searchsorted(owners[usable], np.arange(len(asked) + 1)), items=items[usable])


def _measure(
    model: Model, task: _Task, wanted: Sequence[Metric], features: pl.DataFrame | None
) -> dict[str, NDArray[np.float64] | float]:
    """Each metric by its name: a value a test user, or one number for all."""
    answers = _answer(model, task.asked, task.candidates, depth(wanted))
    slates = Slates(
        items=answers.items,
        popularity=np.bincount(task.training.histories.items, minlength=len(task.catalogue)),
        features=None if features is None else categories(features, task.catalogue),
    )
    return {metric.name: metric(answers.given(metric.takes, slates)) for metric in wanted}


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


def _means(
    values: Mapping[str, NDArray[np.float64] | float], prefix: str, seed: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
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
