"""A crowd that really lived: recorded events in time order, of which the last part is lived through again.

Before each event its person asks for a slate, and then does what they did. The *reward* of a slate is its NDCG with the
item that they took as the only one that counts, ``1 / log2(1 + place)``, or 0 if it is not there; it is asked only
where the person had not taken the item before. Nobody's behaviour depends on what they are shown, so this measures
foresight, not influence; and no event follows from a slate, so none names one: if those that a champion foretold were
taken for its doing, and not asked for (`evaluate.prompted`), the gate would judge it by its failures alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recloop.columns import EVENT, ITEM, TIME, USER, VALUE
from recloop.data.tables import Tables
from recloop.simulation.crowd import DAY, Answer, Visit
from recloop.store import Event

_SENT = 200
"""Newest events of a person that the app sends along."""


class ReplayCrowd:
    """Recorded people.

    Args:
        tables: what was recorded.
        share: of the events, in time order, that is lived through again.
        day_days: length of a simulated day, in days of the record.
        history: whether the app sends along what the person did so far.
    """

    def __init__(self, tables: Tables, *, share: float, day_days: float, history: bool) -> None:
        self._tables, self._history = tables, history
        ordered = tables.interactions.sort(TIME, USER, ITEM, EVENT, VALUE)
        first = min(ordered.height - 1, round(ordered.height * (1 - share)))
        cut = ordered[TIME][first]
        self._before, self._after = ordered.filter(pl.col(TIME) < cut), ordered.filter(pl.col(TIME) >= cut)
        self._moments = self._after[TIME].cast(pl.Int64).to_numpy()
        self._length = int(day_days * DAY)
        self._first = int(self._moments[0])
        self.days = int((self._moments[-1] - self._first) // self._length) + 1
        self._known: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._had: dict[str, set[str]] = defaultdict(set)
        for user, item, moment in self._before.select(USER, ITEM, pl.col(TIME).cast(pl.Int64)).iter_rows():
            self._remember(user, item, moment)

    def past(self) -> Tables:
        """The events before the first day, and all other tables."""
        return Tables(
            interactions=self._before,
            items=self._tables.items,
            users=self._tables.users,
            knowledge=self._tables.knowledge,
        )

    def begins(self, day: int) -> int:
        """The first moment of a day."""
        return self._first + day * self._length

    def visits(self, day: int) -> list[Visit]:
        """One before each event; the history of a visit is read when it is due, so they must be lived in order."""
        first, last = np.searchsorted(self._moments, [self.begins(day), self.begins(day + 1)])
        users = self._after[USER][int(first) : int(last)]
        return [
            Visit(
                number=number,
                user_id=user,
                moment=int(self._moments[number]),
                history=self._known[user] if self._history else None,
            )
            for number, user in enumerate(users, int(first))
        ]

    def answer(self, visit: Visit, request_id: str, slate: Sequence[str]) -> Answer:
        """Do what was done; NaN is the reward of an item that the person had taken before."""
        del request_id
        item, event, value = self._after.select(ITEM, EVENT, VALUE).row(visit.number)
        asked = item not in self._had[visit.user_id]
        place = slate.index(item) + 1 if item in slate else None
        self._remember(visit.user_id, item, visit.moment)
        act = Event(
            event_id=f"r{visit.number}",
            user_id=visit.user_id,
            item_id=item,
            event=event,
            timestamp=visit.moment,
            value=value,
        )
        reward = 1 / np.log2(1 + place) if place else 0.0
        return Answer(acts=[act], reward=float(reward) if asked else float("nan"), best=1.0)

    def unasked(self, day: int, until: int) -> list[Event]:
        """Nothing: every event follows a visit."""
        del day, until
        return []

    def _remember(self, user: str, item: str, moment: int) -> None:
        self._had[user].add(item)
        known = self._known[user]
        known.append({"item_id": item, "timestamp": moment / 1e6})
        del known[:-_SENT]
