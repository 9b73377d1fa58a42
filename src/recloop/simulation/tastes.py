"""A crowd whose tastes are known: the people of the synthetic world.

They take items by themselves, as the world says, and besides ask for recommendations. Somebody looks at place j of a
slate with probability ``1 / log2(1 + j)`` and then takes item i with probability ``appeal * exp(a_i - max a)``: the
world's affinity a, against the best item that they have not had. Nobody takes an item twice. The *reward* of a slate is
the expected number of items taken from it, so it carries no chance of its own.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from recloop.columns import EVENT, ITEM, TIME, USER, VALUE
from recloop.config import Config, Seed
from recloop.data.tables import Tables, canonical_interactions
from recloop.simulation.crowd import DAY, Act, Answer, Visit
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config as WorldConfig
from recloop.sources.synthetic import World

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
    sessions: float = Field(default=60, gt=0)
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
        self._events = self._taken(context)
        self._next = int((self._events["moment"] < self.begins(0)).sum())
        self.had = np.zeros((config.users, config.items), dtype=np.bool_)
        """What each user has taken so far, (U, I)."""
        past = self._events[: self._next]
        self.had[past["user"], past["item"]] = True

    @cached_property
    def watched(self) -> NDArray[np.float64]:
        """The probability of looking at each place of a slate, (K,)."""
        return 1 / np.log2(2 + np.arange(self.config.slate))

    def past(self) -> Tables:
        """What people took by themselves before the first day, and the catalogue."""
        rows = self._events[: int((self._events["moment"] < self.begins(0)).sum())]
        users, items = pl.Series(self.world.user_ids), pl.Series(self.world.item_ids)
        frame = pl.DataFrame(
            {
                USER: users.gather(rows["user"]),
                ITEM: items.gather(rows["item"]),
                TIME: rows["moment"].cast(pl.Datetime("us", "UTC")),
                EVENT: pl.repeat(_ACT, rows.height, eager=True),
                VALUE: pl.repeat(1.0, rows.height, dtype=pl.Float32, eager=True),
            }
        )
        return Tables(interactions=canonical_interactions(frame, "tastes"))

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
        acts = [
            Act(
                event_id=f"v{visit.number}-{item}",
                user_id=visit.user_id,
                item_id=self.world.item_ids[item],
                event=_ACT,
                moment=visit.moment,
                request_id=request_id,
            )
            for item in taken
        ]
        best = float(self.watched @ np.sort(appeal)[::-1][: self.config.slate])
        return Answer(acts=acts, reward=float(chances.sum()), best=best)

    def appeal(self, user: int, moment: int) -> NDArray[np.float64]:
        """The probability that a user takes each item once they look at it, (I,)."""
        liking = np.where(self.had[user], -np.inf, self.world.affinity([user], moment)[0])
        return self.config.appeal * np.exp(liking - liking.max())

    def unasked(self, day: int, until: int) -> list[Act]:
        """What people take by themselves until a moment, but for what they had already."""
        last = min(until, self.begins(day + 1))
        stop = int(np.searchsorted(self._events["moment"].to_numpy(), last))
        acts: list[Act] = []
        for number in range(self._next, stop):
            user, item, moment = self._events.row(number)
            if not self.had[user, item]:
                self.had[user, item] = True
                ids = {"user_id": self.world.user_ids[user], "item_id": self.world.item_ids[item]}
                acts.append(Act(event_id=f"o{number}", event=_ACT, moment=moment, **ids))
        self._next = max(self._next, stop)
        return acts

    def _taken(self, context: SourceContext) -> pl.DataFrame:
        """Users and items by number, and moments, in time order."""
        events = self.world.interactions(context)
        number = pl.col(USER).str.slice(1).cast(pl.Int64).alias("user")
        item = pl.col(ITEM).str.slice(1).cast(pl.Int64).alias("item")
        return events.select(number, item, pl.col(TIME).cast(pl.Int64).alias("moment")).sort(
            "moment", maintain_order=True
        )
