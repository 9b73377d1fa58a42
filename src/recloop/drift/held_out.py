"""What the champion has not learned from, and how well it foretells it: right after its training, and lately.

Shapes: E questions, U people.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from recloop import models
from recloop.columns import EVENT_KEY, TIME, USER
from recloop.data.sequences import Examples
from recloop.data.splits import examples
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.drift.config import DriftConfig
from recloop.metrics import Ranking, parse
from recloop.models.base import FitContext, Model, TrainingData
from recloop.retrieval.exact import rank_examples

SCORE = "score"
QUESTIONS = "questions"
_BASELINE = "popularity"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The events of all time, and what is known of those that came after the champion's training window.

    Attributes:
        interactions: canonical.
        learned_until: time of the last event that the champion was trained on.
        known_until: time of the last event that was known when it was packaged; `None` where that is not recorded.
        prompted: events that followed from a slate, by `columns.EVENT_KEY`; `None` where no slates are known.
        people: the users table, for models that look at people's attributes.
    """

    interactions: pl.DataFrame
    learned_until: datetime
    known_until: datetime | None = None
    prompted: pl.DataFrame | None = None
    people: pl.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """How well next items were foretold, one row a person: `USER`, `SCORE`, their mean, and `QUESTIONS`, how many.

    Attributes:
        before: by the champion, right after its training.
        lately: by the champion, in the newest window.
        baseline: by popularity in the champion's training window, to the questions of `lately`.
    """

    before: pl.DataFrame
    lately: pl.DataFrame
    baseline: pl.DataFrame


def foretell(held_out: HeldOut, model: Model, items: Vocabulary, config: DriftConfig) -> Foretold | None:
    """Ask the champion for each next item in two windows of equal length, and popularity in the newer one.

    Questions are those of `recloop.evaluation`: each event of a person by itself, given all that they did before it,
    the whole catalogue ranked without what they have had. What followed from a slate is context and not asked for. An
    item that the champion does not know is a miss. At most `contexts` questions a window are asked: people take turns,
    in one order for both windows and with their questions in any, drawn by `seed`, so as many people as possible count.

    The newer window is the newest `window_days`; the other one begins where the training window ends, and where the
    newer one holds what followed from slates, where the champion was packaged: its slates take away what it foretells
    best, so what people find by themselves before and after it is in charge cannot be compared. If time is short
    both take half of it.

    Returns:
        `None` if one of the windows holds no question.
    """
    windows = _windows(held_out, config)
    if windows is None:
        return None
    before, lately = (_asked(held_out, window, items) for window in windows)
    if before is None or lately is None:
        return None
    before, lately = _drawn(before, lately, config)
    baseline = _baseline(held_out, items)
    return Foretold(
        before=_scores(model, before, config.metric),
        lately=_scores(model, lately, config.metric),
        baseline=_scores(baseline, lately, config.metric),
    )


Window = tuple[datetime, datetime]


def _windows(held_out: HeldOut, config: DriftConfig) -> tuple[Window, Window] | None:
    """Two windows, each without its begin and with its end."""
    newest: datetime = held_out.interactions[TIME].max()  # pyright: ignore[reportAssignmentType]
    found = _pair(held_out.learned_until, newest, config)
    if found is None or held_out.prompted is None or held_out.known_until is None:
        return found
    if _inside(held_out.prompted, found[1]).is_empty():
        return found
    return _pair(max(held_out.learned_until, held_out.known_until), newest, config)


def _pair(begin: datetime, newest: datetime, config: DriftConfig) -> tuple[Window, Window] | None:
    longest = timedelta.max if config.window_days is None else timedelta(days=config.window_days)
    length = min(longest, (newest - begin) / 2)
    return ((begin, begin + length), (newest - length, newest)) if length > timedelta(0) else None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Questions about U people, whose ids the rows of ``examples.histories`` stand for."""

    examples: Examples
    users: Vocabulary


def _asked(held_out: HeldOut, window: Window, items: Vocabulary) -> _Asked | None:
    events = held_out.interactions.filter(pl.col(TIME) <= window[1]).with_row_index("row")
    own = _inside(events, window)
    if held_out.prompted is not None:
        own = own.join(held_out.prompted, on=EVENT_KEY, how="anti", maintain_order="left")
    if own.is_empty():
        return None
    context = events.join(own, on="row", how="anti", maintain_order="left").drop("row")
    asked, users, _ = examples(context, own.drop("row"), items, mode="successive", people=held_out.people)
    return _Asked(examples=asked, users=users) if len(asked) else None


def _inside(events: pl.DataFrame, window: Window) -> pl.DataFrame:
    return events.filter(pl.col(TIME) > window[0], pl.col(TIME) <= window[1])


def _drawn(before: _Asked, lately: _Asked, config: DriftConfig) -> tuple[_Asked, _Asked]:
    """At most `contexts` questions of each window."""
    everybody = Vocabulary(pl.concat([before.users.ids, lately.users.ids]))
    rng = np.random.default_rng(config.seed)
    place = rng.permutation(len(everybody))
    return _in_turn(before, place, everybody, config.contexts, rng), _in_turn(
        lately, place, everybody, config.contexts, rng
    )


def _in_turn(
    asked: _Asked, place: NDArray[np.int64], everybody: Vocabulary, most: int, rng: np.random.Generator
) -> _Asked:
    """The first questions where people take turns, in the order of `place`, with any one of theirs not yet taken."""
    users = asked.examples.users
    shuffled = np.lexsort((rng.random(len(users)), users))
    turn = np.empty(len(users), dtype=np.int64)
    turn[shuffled] = np.arange(len(users)) - np.searchsorted(users, users)
    order = np.lexsort((place[everybody.encode(asked.users.ids)][users], turn))
    return _Asked(examples=asked.examples.take(np.sort(order[:most])), users=asked.users)


def _scores(model: Model, asked: _Asked, metric: str) -> pl.DataFrame:
    batches = [(batch.ranks, batch.n_candidates) for batch in rank_examples(model, asked.examples, 1)]
    ranks, candidates = (np.concatenate(column) for column in zip(*batches, strict=True))
    measured = parse(metric)(Ranking(ranks=ranks, offsets=asked.examples.offsets, n_candidates=candidates))
    frame = pl.DataFrame({USER: asked.users.ids.gather(asked.examples.users), SCORE: measured}).fill_nan(None)
    return (
        frame.drop_nulls().group_by(USER).agg(pl.col(SCORE).mean(), pl.len().cast(pl.Int64).alias(QUESTIONS)).sort(USER)
    )


def _baseline(held_out: HeldOut, items: Vocabulary) -> Model:
    learned = held_out.interactions.filter(pl.col(TIME) <= held_out.learned_until)
    kind = models.find(_BASELINE)
    model = kind(kind.Config(), len(items))
    model.fit(TrainingData.from_tables(learned, items, Attributes()), FitContext(device=torch.device("cpu")))
    return model
