"""A crowd whose tastes are known: the people of the synthetic world.

They take items by themselves, as the world says, and besides ask for recommendations. Somebody looks at place j of a
slate with probability ``1 / log2(1 + j)`` and then takes item i with probability ``appeal * exp(a_i - max a)``: the
world's affinity a, against the best item that they have not had. Nobody takes an item twice, and whoever has taken some
from a slate takes as many less by themselves, so that people are equally active on every day. The *reward* of a slate
is the expected number of items taken from it, so it carries no chance of its own.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recloop.config import Config, Seed
from recloop.data.tables import Tables
from recloop.simulation.crowd import DAY, Answer, Visit, frame_of
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config as WorldConfig
from recloop.sources.synthetic import World, draw
from recloop.store import Event

_ACT = "click"


class TasteConfig(Config):
    """The world and its people.

    Attributes:
        seed: of every draw.
        users, items: how many.
        history_days: days before the first one that models may learn from.
        days: days that are simulated.
        shift: the day at whose beginning all tastes move, counted from 0; null for never.
        sessions, session_length: how often people come by themselves in all that time, and how much they take then.
        visits: mean number of times a day that somebody asks for recommendations.
        slate: how many items they are shown.
        appeal: probability of taking the best item, once looked at.
    """

    seed: Seed = 0
    users: int = Field(default=1000, ge=10)
    items: int = Field(default=1000, ge=20)
    history_days: int = Field(default=30, ge=1)
    days: int = Field(default=20, ge=1)
    shift: int | None = Field(default=10, ge=1)
    sessions: float = Field(default=30, gt=0)
    session_length: float = Field(default=5, ge=1)
    visits: float = Field(default=0.5, gt=0)
    slate: int = Field(default=10, ge=1)
    appeal: float = Field(default=0.5, gt=0, le=1)

    def world(self) -> World:
        """The truth."""
        total = self.history_days + self.days
        return World(
            WorldConfig(
                seed=self.seed,
                users=self.users,
                items=self.items,
                days=total,
                sessions=self.sessions,
                session_length=self.session_length,
                cold_items=0.05,
                drift_at=None if self.shift is None else (self.history_days + self.shift) / total,
            )
        )


class TasteCrowd:
    """People of the synthetic world; it remembers what they have had, so it serves one regime.

    Args:
        config: the world.
        context: shows how far long steps are.
    """

    def __init__(self, config: TasteConfig, context: SourceContext) -> None:
        self.config, self.world = config, config.world()
        self.days = config.days
        users, moments, self._leanings, sessions = self.world.sessions(np.random.default_rng([config.seed, 0]))
        order = np.argsort(moments, kind="stable")
        self._users, self._moments, self._sessions = users[order], moments[order], sessions[order]
        self._next = 0
        self.had = np.zeros((config.users, config.items), dtype=np.bool_)
        """What each user has taken so far, (U, I)."""
        self._found = np.zeros(config.users, dtype=np.int64)
        """Items that each user has taken from slates and not yet made up for, (U,)."""
        taken: list[Event] = []
        for day in context.progress(range(-config.history_days, 0), "living through the past"):
            taken += self.unasked(day, self.begins(day + 1))
        self._past = frame_of(taken)

    @cached_property
    def watched(self) -> NDArray[np.float64]:
        """The probability of looking at each place of a slate, (K,)."""
        return 1 / np.log2(2 + np.arange(self.config.slate))

    def past(self) -> Tables:
        """What people took by themselves before the first day."""
        return Tables(interactions=self._past)

    def begins(self, day: int) -> int:
        """The first moment of a day."""
        return self.world.start + (self.config.history_days + day) * DAY

    def visits(self, day: int) -> list[Visit]:
        """Who asks on a day: each user as often as a Poisson variable says, evenly over the day."""
        rng = np.random.default_rng([self.config.seed, 1, day])
        users = np.repeat(np.arange(self.config.users), rng.poisson(self.config.visits, self.config.users))
        moments = self.begins(day) + np.sort(rng.integers(DAY - 1, size=len(users)))
        ids = self.world.user_ids
        return [
            Visit(number=day * 1_000_000 + number, user_id=ids[user], moment=int(moment))
            for number, (user, moment) in enumerate(zip(rng.permutation(users), moments, strict=True))
        ]

    def answer(self, visit: Visit, request_id: str, slate: Sequence[str]) -> Answer:
        """Look down the slate and take what appeals."""
        user = int(visit.user_id[1:])
        items = np.array([int(item[1:]) for item in slate], dtype=np.int64)
        appeal = self.appeal(user, visit.moment)
        chances = self.watched[: len(items)] * appeal[items]
        drawn = np.random.default_rng([self.config.seed, 2, visit.number]).random(self.config.slate)
        taken = items[drawn[: len(items)] < chances]
        self.had[user, taken] = True
        self._found[user] += len(taken)
        acts = [
            Event(
                event_id=f"v{visit.number}-{item}",
                user_id=visit.user_id,
                item_id=self.world.item_ids[item],
                event=_ACT,
                timestamp=visit.moment,
                request_id=request_id,
            )
            for item in taken
        ]
        best = float(self.watched @ np.sort(appeal)[::-1][: self.config.slate])
        return Answer(acts=acts, reward=float(chances.sum()), best=best)

    def appeal(self, user: int, moment: int) -> NDArray[np.float64]:
        """The probability that a user takes each item once they look at it, (I,)."""
        liking = np.where(self.had[user], -np.inf, self.world.affinity([user], moment)[0])
        highest = liking.max()
        return self.config.appeal * np.exp(liking - highest) if np.isfinite(highest) else np.zeros_like(liking)

    def unasked(self, day: int, until: int) -> list[Event]:
        """What people take by themselves until a moment."""
        stop = int(np.searchsorted(self._moments, min(until, self.begins(day + 1))))
        acts: list[Event] = []
        for number in range(self._next, stop):
            user = int(self._users[number])
            if self._found[user]:
                self._found[user] -= 1
                continue
            item = self._chosen(number, user)
            if item is None:
                continue
            self.had[user, item] = True
            acts.append(
                Event(
                    event_id=f"o{number}",
                    user_id=self.world.user_ids[user],
                    item_id=self.world.item_ids[item],
                    event=_ACT,
                    timestamp=int(self._moments[number]),
                )
            )
        self._next = max(self._next, stop)
        return acts

    def _chosen(self, number: int, user: int) -> int | None:
        """What a user takes of what they have not had, if there is any, leaning as they do in this session."""
        when = self._moments[number : number + 1]
        leaning = self.world.config.focus * self._leanings[self._sessions[number]]
        liking = self.world.liking(self.world.tastes([user], when) + leaning, when)
        liking[0, self.had[user]] = -np.inf
        if not np.isfinite(liking).any():
            return None
        return int(draw(liking, np.random.default_rng([self.config.seed, 3, number]))[0])
