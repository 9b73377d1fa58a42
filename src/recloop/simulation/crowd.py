"""What a crowd is: who asks when, what they do with a slate, and what the slate is worth to them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from recloop.columns import EVENT, ITEM, TIME, USER
from recloop.data.tables import TIMESTAMP, Tables, canonical_interactions
from recloop.store import Event

DAY = 86_400_000_000
"""In microseconds."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Somebody asks for recommendations.

    Attributes:
        number: of the visit; the same in every regime.
        user_id: who.
        moment: when, microseconds since 1970 UTC.
        history: what the app knows that they did, and sends along; `None` if it sends only the id.
    """

    number: int
    user_id: str
    moment: int
    history: list[dict[str, Any]] | None = None


def frame_of(acts: Sequence[Event]) -> pl.DataFrame:
    """Acts as canonical interactions."""
    columns = {
        USER: pl.Series([act.user_id for act in acts], dtype=pl.String),
        ITEM: pl.Series([act.item_id for act in acts], dtype=pl.String),
        TIME: pl.Series([act.timestamp for act in acts], dtype=pl.Int64).cast(TIMESTAMP),
        EVENT: pl.Series([act.event for act in acts], dtype=pl.String),
    }
    return canonical_interactions(pl.DataFrame(columns), "the crowd")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a slate.

    Attributes:
        acts: what the person does with it.
        reward: what the slate is worth: see the crowd.
        best: what the best possible slate would be worth.
    """

    acts: list[Event] = field(default_factory=list[Event])
    reward: float
    best: float


class Crowd(Protocol):
    """People who live through `days` days; the same seed gives the same visits in every regime."""

    days: int

    def past(self) -> Tables:
        """What happened before the first day."""
        ...

    def begins(self, day: int) -> int:
        """The first moment of a day."""
        ...

    def visits(self, day: int) -> list[Visit]:
        """Who asks on a day, in time order."""
        ...

    def answer(self, visit: Visit, request_id: str, slate: Sequence[str]) -> Answer:
        """What somebody does with a slate."""
        ...

    def unasked(self, day: int, until: int) -> list[Event]:
        """What people do by themselves on a day until a moment, since this was last asked."""
        ...
