"""Splits: what may be learnt from, and what is asked afterwards.

Shapes: E examples, T targets, N events, U users.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from recloop.columns import EVENT, EVENT_KEY, ITEM, TIME, USER, VALUE
from recloop.config import Config
from recloop.data.sequences import Contexts, Examples
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import DataError

Strategy = Literal["temporal", "leave_last_out"]
Targets = Literal["successive", "last", "all"]
_LEAST_PEOPLE = 0.5
"""Share of the people of a part who must be left when what followed from slates is not asked for."""


class SplitConfig(Config):
    """How to split interactions into training, validation and test.

    Attributes:
        strategy: ``temporal`` cuts all events at two points in time, so that weights see nothing of what comes later;
            ``leave_last_out`` takes each user's last event for test and the one before for validation, as many papers
            do; there, other people's later events are learnt from.
        targets: what is asked of a user's events after the cut: each in turn (``successive``), the ``last`` one, or
            ``all`` as one set.
        valid_fraction: share of the events between training and test; temporal only; 0 for none.
        test_fraction: share of the events at the end; temporal only.
        min_users: fewest users that training and test must have.
    """

    strategy: Strategy = Field(default="temporal", description="How events are divided.")
    targets: Targets = Field(default="successive", description="What is asked of a user's later events.")
    valid_fraction: float = Field(default=0.1, ge=0, lt=1, description="Share of events for validation, by time.")
    test_fraction: float = Field(default=0.1, gt=0, lt=1, description="Share of the newest events, for test.")
    min_users: int = Field(default=10, ge=1, description="Fewest users in training and in test.")

    @model_validator(mode="after")
    def _training_remains(self) -> Self:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction and test_fraction must leave something for training")
        return self


@dataclass(frozen=True, kw_only=True)
class Split:
    """Three parts of canonical interactions; every row is in exactly one.

    Attributes:
        train: what weights may see.
        valid: between training and test; may be empty.
        test: the newest.
        summary: counts and windows: strategy, targets; `users` of all parts; `items` of the training part, which are
            the catalogue; rows of each part; examples of validation and test once targets already seen are dropped;
            `empty_contexts`, test examples with nothing to go by; `cold_users`, test users without a training event;
            `cold_targets`, test rows outside the catalogue; and the first and last time of each part, ISO 8601.
    """

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    summary: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of the targets.

    Attributes:
        times: int64 (E,), when each question is asked: the time of its first target, microseconds since 1970 UTC.
        seen: targets dropped because they are in their context.
        repeated: targets dropped because their example has the same item already.
        unknown: targets kept although they are not in the catalogue.
        empty: examples with an empty context.
    """

    times: NDArray[np.int64]
    seen: int
    repeated: int
    unknown: int
    empty: int


def split(interactions: pl.DataFrame, config: SplitConfig) -> Split:
    """Split canonical interactions; each part is in canonical order.

    Temporal: with n events in order of time, test begins at the time of event ``round(n (1 - test_fraction))`` and
    validation at the time of event ``round(n (1 - valid_fraction - test_fraction))``, counted from 0 and at most n - 1.
    All events of a boundary's time lie after it, so a part can be larger than its fraction.

    Leave-last-out: the last event of a user is test, the one before validation; users with fewer than three events
    stay in training. Events of one user at one time are ordered by item, event and value.

    Raises:
        DataError: training or test has fewer than `min_users` users, or a boundary leaves validation without events.
    """
    ordered = interactions.sort(TIME, USER, ITEM, EVENT, VALUE)
    part = _by_time(ordered, config) if config.strategy == "temporal" else _by_user(ordered)
    train, valid, test = (ordered.filter(part == index) for index in range(3))
    for name, frame in (("training", train), ("test", test)):
        users = frame[USER].n_unique()
        if users < config.min_users:
            raise DataError(
                f"The {name} part of the split has {users} user(s), fewer than split.min_users = {config.min_users}; "
                "give more data, other fractions, or a lower min_users."
            )
    if valid.is_empty() and config.valid_fraction > 0:
        raise DataError(
            "The validation part of the split is empty, because too many events share one time; "
            "give finer timestamps, a larger split.valid_fraction, or 0 to do without."
        )
    return Split(train=train, valid=valid, test=test, summary=_summary(train, valid, test, config))


def unprompted(
    asked: pl.DataFrame, prompted: pl.DataFrame | None, *, must: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is asked for of a part of the split, and what of it is context alone.

    Args:
        asked: canonical interactions.
        prompted: events that followed from a slate, by `columns.EVENT_KEY`. They are not asked for if that leaves at
            least half of the people: what was shown favours the model that chose it.
        must: do not ask for them, however few people are left.
    """
    if prompted is None or prompted.is_empty():
        return asked, asked.clear()
    own = asked.join(prompted, on=EVENT_KEY, how="anti", maintain_order="left")
    if not must and own[USER].n_unique() < _LEAST_PEOPLE * asked[USER].n_unique():
        return asked, asked.clear()
    return own, asked.join(prompted, on=EVENT_KEY, how="semi", maintain_order="left")


def examples(
    known: pl.DataFrame,
    targets: pl.DataFrame,
    items: Vocabulary,
    *,
    mode: Targets,
    mask_seen: bool = True,
    strategy: Strategy = "temporal",
    people: pl.DataFrame | None = None,
) -> tuple[Examples, Vocabulary, Account]:
    """Questions about the users of `targets`.

    The context of a question is every event of its user, from `known` or from `targets`, with a strictly earlier time,
    on an item of the catalogue. Where each user's last event was left out, it is all of `known`: events that bear the
    very time of the target were learned from, so they must be shown, and masked, too. What is asked depends on `mode`:

    - ``successive``: each target by itself, so earlier targets are context of later ones;
    - ``last``: each user's last target by itself; where targets are dropped, the last that remains;
    - ``all``: all targets of a user as one set, asked at the time of the first; the context is of `known` only, and
      repeated items count once.

    Args:
        known: canonical interactions that may be context; they are compared by time too, so nothing later is shown.
        targets: canonical interactions that were held out.
        items: the catalogue.
        mode: see above.
        mask_seen: drop targets whose item is in their context already, as masking leaves no way to find them.
        strategy: how `known` and `targets` were divided.
        people: the users table, for the features of contexts.

    Returns:
        The examples, by user and time; the vocabulary of the users of `targets`, whose index is the row of
        `Examples.histories`; and what became of the targets.
    """
    users = Vocabulary(targets[USER])
    known = known.filter(pl.col(USER).is_in(users.ids.implode()))
    last_out = strategy == "leave_last_out"
    shown = known if mode == "all" or last_out else pl.concat([known, targets.select(known.columns)])
    histories = Contexts.from_frame(shown, users, items, people)

    asked = _asked(targets, users, items)
    if mode == "all":
        asked = replace(asked, times=asked.times[_first_rows(asked.users)[asked.users]])
    stops = histories.lengths[asked.users] if last_out else _stops(histories, asked)
    seen = _seen(histories, asked, stops, len(items)) if mask_seen else np.zeros(len(stops), dtype=bool)
    unseen = np.flatnonzero(~seen)
    kept = _kept(asked, unseen, mode)
    starts = _first_rows(asked.users[kept]) if mode == "all" else np.arange(len(kept))
    first = kept[starts]
    made = Examples(
        histories=histories,
        users=asked.users[first],
        stops=stops[first],
        offsets=np.append(starts, len(kept)).astype(np.int64),
        targets=asked.items[kept],
        values=asked.values[kept],
    )
    return (
        made,
        users,
        Account(
            times=asked.times[first],
            seen=int(np.count_nonzero(seen)),
            repeated=len(unseen) - len(kept) if mode == "all" else 0,
            unknown=int(np.count_nonzero(made.targets == UNKNOWN)),
            empty=int(np.count_nonzero(made.stops == 0)),
        ),
    )


def _by_time(ordered: pl.DataFrame, config: SplitConfig) -> pl.Series:
    size = ordered.height
    if not size:
        return pl.Series([], dtype=pl.Int8)
    times = ordered[TIME]
    test = times[min(round(size * (1 - config.test_fraction)), size - 1)]
    valid = times[min(round(size * (1 - config.valid_fraction - config.test_fraction)), size - 1)]
    return (times >= valid).cast(pl.Int8) + (times >= test).cast(pl.Int8)


def _by_user(ordered: pl.DataFrame) -> pl.Series:
    later = pl.int_range(pl.len(), dtype=pl.Int32).reverse().over(USER)
    part = pl.when(pl.len().over(USER) < 3).then(0).otherwise((2 - later).clip(lower_bound=0))
    return ordered.select(part.cast(pl.Int8).alias("part"))["part"]


def _summary(train: pl.DataFrame, valid: pl.DataFrame, test: pl.DataFrame, config: SplitConfig) -> dict[str, Any]:
    items = Vocabulary(train[ITEM])
    before_valid = examples(train, valid, items, mode=config.targets, strategy=config.strategy)
    before_test = examples(pl.concat([train, valid]), test, items, mode=config.targets, strategy=config.strategy)
    known_users = train[USER].unique()
    return {
        "strategy": config.strategy,
        "targets": config.targets,
        "users": pl.concat([train[USER], valid[USER], test[USER]]).n_unique(),
        "items": len(items),
        "train_rows": train.height,
        "valid_rows": valid.height,
        "test_rows": test.height,
        "valid_examples": len(before_valid[0]),
        "test_examples": len(before_test[0]),
        "empty_contexts": before_test[2].empty,
        "cold_users": test[USER].unique().is_in(known_users.implode()).not_().sum(),
        "cold_targets": int(np.count_nonzero(items.encode(test[ITEM]) == UNKNOWN)),
        "train_window": _window(train),
        "valid_window": _window(valid),
        "test_window": _window(test),
    }


def _window(frame: pl.DataFrame) -> list[str] | None:
    if frame.is_empty():
        return None
    times = frame[TIME].dt.to_string("iso:strict")
    return [times[0], times[-1]]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The targets by user and time, each (T,); `codes` tells all items apart, also those outside the catalogue."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    codes: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float32]


def _asked(targets: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> _Asked:
    user = users.encode(targets[USER])
    time = targets[TIME].cast(pl.Int64).to_numpy()
    order = np.lexsort((time, user))
    return _Asked(
        users=user[order],
        items=items.encode(targets[ITEM])[order],
        codes=Vocabulary(targets[ITEM]).encode(targets[ITEM])[order],
        times=time[order],
        values=targets[VALUE].to_numpy()[order].astype(np.float32),
    )


def _first_rows(sorted_values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each distinct value of a sorted array begins."""
    return np.flatnonzero(np.diff(sorted_values, prepend=-1))


def _stops(histories: Contexts, asked: _Asked) -> NDArray[np.int64]:
    """How many events of its user lie strictly before each target, (T,)."""
    times = np.sort(histories.timestamps)
    stride = len(times) + 1
    event = histories.rows * stride + np.searchsorted(times, histories.timestamps)
    question = asked.users * stride + np.searchsorted(times, asked.times)
    return np.searchsorted(event, question) - histories.offsets[asked.users]


def _seen(histories: Contexts, asked: _Asked, stops: NDArray[np.int64], n_items: int) -> NDArray[np.bool_]:
    """Whether each target's item is among the events before its stop, (T,)."""
    pairs, first = np.unique(histories.rows * n_items + histories.items, return_index=True)
    wanted = asked.users * n_items + asked.items
    place = np.searchsorted(pairs, wanted)
    occurs = asked.items != UNKNOWN
    occurs[occurs] = np.append(pairs, -1)[place[occurs]] == wanted[occurs]
    position = np.append(first, 0)[place] - histories.offsets[asked.users]
    return occurs & (position < stops)


def _kept(asked: _Asked, unseen: NDArray[np.int64], mode: Targets) -> NDArray[np.int64]:
    """Those of the rows `unseen` that are asked for."""
    if mode == "all":
        return _once(asked, unseen)
    if mode == "last":
        return unseen[np.flatnonzero(np.diff(asked.users[unseen], append=-1))]
    return unseen


def _once(asked: _Asked, kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the rows `kept` that are the first of their user and item."""
    pairs = asked.users[kept] * (asked.codes.max(initial=0) + 1) + asked.codes[kept]
    return kept[np.sort(np.unique(pairs, return_index=True)[1])]
