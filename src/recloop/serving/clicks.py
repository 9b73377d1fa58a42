"""What was shown and clicked lately, for policies that learn from clicks: followed in the store while a model serves.

A thread reads the store's slates and events; a request never waits for it. Counted are the places of the newest
`ClicksConfig.slates` slates that people were shown, whatever bundle made them, but not those of a shadow, nor those
that two bundles drafted, which no policy made by itself: all workers count the same, however long they run, and what
people no longer click is forgotten (a sliding window, as in Garivier
and Moulines, "On upper-confidence bound policies for switching bandit problems", ALT 2011).

A place is clicked if an event of `ClicksConfig.acts` belongs to it as in `recloop.loop.attribution`: it names the
slate's request, is of the person that the slate was for and about an item on it, and happened within the window; the
same again counts once, and of an item that stands on a slate twice the first place is clicked. An event that reaches
the store before its slate waits for it. People who do not act like people are not left out.

The place j of a slate, from 1, is looked at with probability ``1 / log2(1 + j)``, the discount of DCG (Järvelin and
Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002).
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from recloop.columns import EVENT, ITEM, POSITION, REQUEST, SCORE, TIME, USER
from recloop.config import Config
from recloop.policies import Clicks, ScoredClicks
from recloop.serving.follow import Follower
from recloop.store import Store

_MICRO = 1_000_000
_Key = TypeVar("_Key")


class ClicksConfig(Config):
    """How closely, and how much.

    Attributes:
        seconds: between two looks.
        slates: how many of the newest slates count.
        events: how many of the newest events are read when the thread starts.
        waiting: how many clicks wait for a slate that is not stored yet, at most.
        acts: types of events that count as a click.
        window_seconds: how long after its slate an event may happen.
        skew_seconds: how far before it, since clocks differ.
    """

    seconds: float = Field(default=2.0, gt=0)
    slates: int = Field(default=50_000, ge=1)
    events: int = Field(default=500_000, ge=0)
    waiting: int = Field(default=10_000, ge=1)
    acts: tuple[str, ...] = ("click", "purchase", "rating")
    window_seconds: float = Field(default=86_400, gt=0)
    skew_seconds: float = Field(default=60, ge=0)


class _Sums(NamedTuple):
    """Of one item: the places it was shown at, and sums over them: c, p, p s, p s^2 and c s, as in `ScoredClicks`."""

    places: float = 0.0
    clicks: float = 0.0
    examined: float = 0.0
    scores: float = 0.0
    squared_scores: float = 0.0
    clicked_scores: float = 0.0

    def plus(self, other: "_Sums") -> "_Sums":
        return _Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: "_Sums") -> "_Sums":
        return _Sums(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    @classmethod
    def shown(cls, position: int, score: float) -> "_Sums":
        look = examination(position)
        return cls(1, 0, look, look * score, look * score * score)

    @classmethod
    def clicked(cls, score: float) -> "_Sums":
        return cls(clicks=1, clicked_scores=score)


class _Click(NamedTuple):
    """`user` is a hash with a key of this process, so that no id is kept."""

    request: str
    user: int
    item: str
    moment: int


@dataclass(slots=True)
class _Slate:
    bundle: str
    user: int | None
    moment: int
    items: list[str] = field(default_factory=list[str])
    scores: list[float] = field(default_factory=list[float])
    clicked: set[int] = field(default_factory=set[int])


_NOTHING = _Sums()
_NOT_COUNTED = ("shadow", "interleaved")


def examination(position: int) -> float:
    """The probability that a place is looked at, by its position from 0."""
    return 1 / math.log2(2 + position)


class ClickStatistics:
    """Clicks on each item, in a thread of its own that begins with `start`. Methods may be called by several threads.

    Args:
        open_store: connects to the store; called in the thread, and again whenever the connection was lost.
        config: sizes and times.
    """

    def __init__(self, open_store: Callable[[], Store], config: ClicksConfig | None = None) -> None:
        self._config = config or ClicksConfig()
        self._slates: dict[str, _Slate] = {}
        self._items: dict[str, _Sums] = {}
        self._bundles: dict[tuple[str, str], _Sums] = {}
        self._waiting: deque[_Click] = deque(maxlen=self._config.waiting)
        self._slate_seq = self._event_seq = -1
        self._complete = False
        self._follower = Follower(
            open_store,
            self._look,
            seconds=self._config.seconds,
            name="clicks",
            meanwhile="Click statistics stay as they are",
        )

    def start(self) -> None:
        """Begin to follow the store, unless that has begun."""
        self._follower.start()

    def clicks(self, item_ids: Sequence[str]) -> Clicks:
        """What is known of these N items; zeros until the store was read for the first time."""
        sums = [self._items.get(item, _NOTHING) for item in item_ids] if self._complete else [_NOTHING] * len(item_ids)
        return Clicks(clicks=_column(sums, "clicks"), examined=_column(sums, "examined"))

    def scored_clicks(self, bundle: str, item_ids: Sequence[str]) -> ScoredClicks:
        """What is known of these N items from slates of this bundle, whose scores compare with each other."""
        known = self._bundles if self._complete else {}
        sums = [known.get((bundle, item), _NOTHING) for item in item_ids]
        return ScoredClicks(
            examined=_column(sums, "examined"),
            clicks=_column(sums, "clicks"),
            scores=_column(sums, "scores"),
            squared_scores=_column(sums, "squared_scores"),
            clicked_scores=_column(sums, "clicked_scores"),
        )

    def close(self) -> None:
        """End the thread and give the store's connections back."""
        self._follower.close()

    def _look(self, store: Store) -> None:
        if self._slate_seq < 0:
            self._event_seq = max(0, store.last_event_seq() - self._config.events)
            self._slate_seq = max(0, store.last_slate_seq() - self._config.slates)
        for frame in store.impressions_after(self._slate_seq):
            self._take_places(frame)
            self._slate_seq = frame["seq"][-1]
            if self._follower.closing.is_set():
                return
        for _ in range(len(self._waiting)):
            self._take_click(self._waiting.popleft())
        for frame in store.events_after(self._event_seq):
            self._take_events(frame)
            self._event_seq = frame["seq"][-1]
            if self._follower.closing.is_set():
                return
        self._complete = True

    def _take_places(self, frame: pl.DataFrame) -> None:
        shown = frame.filter(~pl.col("arm").is_in(_NOT_COUNTED)).select(
            REQUEST, "bundle", USER, TIME, POSITION, ITEM, SCORE
        )
        for request, bundle, user, moment, position, item, score in shown.iter_rows():
            slate = self._slates.get(request)
            if slate is None:
                slate = self._slates[request] = _Slate(intern(bundle), None if user is None else hash(user), moment)
                if len(self._slates) > self._config.slates:
                    self._forget(self._slates.pop(next(iter(self._slates))))
            slate.items.append(intern(item))
            slate.scores.append(score)
            self._add(slate, item, _Sums.shown(position, score))

    def _take_events(self, frame: pl.DataFrame) -> None:
        acts = frame.filter(pl.col(EVENT).is_in(self._config.acts), pl.col(REQUEST).is_not_null())
        for request, user, item, moment in acts.select(REQUEST, USER, ITEM, TIME).iter_rows():
            self._take_click(_Click(request, hash(user), item, moment))

    def _take_click(self, click: _Click) -> None:
        slate = self._slates.get(click.request)
        if slate is None:
            self._waiting.append(click)
            return
        delay = (click.moment - slate.moment) / _MICRO
        if slate.user not in {None, click.user} or click.item not in slate.items:
            return
        if not -self._config.skew_seconds <= delay <= self._config.window_seconds:
            return
        position = slate.items.index(click.item)
        if position not in slate.clicked:
            slate.clicked.add(position)
            self._add(slate, click.item, _Sums.clicked(slate.scores[position]))

    def _forget(self, slate: _Slate) -> None:
        for position, (item, score) in enumerate(zip(slate.items, slate.scores, strict=True)):
            clicked = _Sums.clicked(score) if position in slate.clicked else _NOTHING
            self._add(slate, item, _NOTHING.minus(_Sums.shown(position, score)).minus(clicked))

    def _add(self, slate: _Slate, item: str, sums: _Sums) -> None:
        _into(self._items, item, sums)
        _into(self._bundles, (slate.bundle, item), sums)


def _into(kept: dict[_Key, _Sums], key: _Key, sums: _Sums) -> None:
    after = kept.get(key, _NOTHING).plus(sums)
    if after.places:
        kept[key] = after
    else:
        del kept[key]


def _column(sums: list[_Sums], name: str) -> NDArray[np.float64]:
    return np.array([getattr(one, name) for one in sums], dtype=np.float64)
