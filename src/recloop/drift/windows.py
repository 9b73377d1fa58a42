"""Two windows of events, cut into slices of equal length so that what happens in a slice can be compared.

A person's events in a slice are a *block*. Windows of unequal length differ in everything that grows with time
(events a user, users, items); blocks of equal length do not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

import polars as pl

from recloop.columns import ITEM, TIME, USER

WINDOW = "window"
CODE = "code"
SLICE = "slice"

_DAY = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The events of a reference window and of a current one.

    Attributes:
        events: canonical interactions of both windows in order of time, with `WINDOW` (0 reference, 1 current),
            `CODE` (a number for each user, the same in both) and `SLICE` (0 is the newest slice of its window, and so
            on backwards in time; null for what is left at the beginning and is shorter than a slice).
        span: length of a slice in microseconds: that of the shorter window.
        sequential: whether the current window begins after the reference ends.
    """

    events: pl.DataFrame
    span: int
    sequential: bool

    @classmethod
    def of(cls, reference: pl.DataFrame, current: pl.DataFrame) -> Self:
        """From canonical interactions; both have at least one row."""
        bounds = [_bounds(frame) for frame in (reference, current)]
        span = min(last - first + 1 for first, last in bounds)
        parts = [
            frame.with_columns(
                pl.lit(window, dtype=pl.Int8).alias(WINDOW),
                _slice(last, span, (last - first + 1) // span).alias(SLICE),
            )
            for window, (frame, (first, last)) in enumerate(zip((reference, current), bounds, strict=True))
        ]
        events = pl.concat(parts).with_columns((pl.col(USER).rank("dense") - 1).cast(pl.Int64).alias(CODE))
        return cls(events=events.sort(TIME, USER, ITEM), span=span, sequential=bounds[1][0] > bounds[0][1])

    @property
    def reference(self) -> pl.DataFrame:
        """The events of the reference window."""
        return self.events.filter(pl.col(WINDOW) == 0)

    @property
    def current(self) -> pl.DataFrame:
        """The events of the current window."""
        return self.events.filter(pl.col(WINDOW) == 1)

    @property
    def first_half(self) -> pl.DataFrame:
        """The events of the reference up to the middle of its time."""
        first, last = _bounds(self.reference)
        return self.reference.filter(pl.col(TIME).cast(pl.Int64) <= (first + last) // 2)

    def of_late(self, days: float | None) -> Self:
        """With a reference of its newest days alone; as it is if `days` is `None` or no less than what there is."""
        if days is None:
            return self
        _, last = _bounds(self.reference)
        newest = self.reference.filter(pl.col(TIME).cast(pl.Int64) > last - int(days * _DAY))
        return self.of(*(part.select(pl.exclude(WINDOW, CODE, SLICE)) for part in (newest, self.current)))

    def blocks(self) -> pl.DataFrame:
        """One row a block: `WINDOW`, `CODE`, `SLICE` and ``events``, how many there are in it."""
        inside = self.events.filter(pl.col(SLICE).is_not_null())
        return inside.group_by(WINDOW, CODE, SLICE).agg(pl.len().alias("events")).sort(WINDOW, CODE, SLICE)

    def newcomers(self, column: Literal["user_id", "item_id"]) -> pl.DataFrame:
        """Events with ``unknown``: whether the id of `column` is absent from all that came before the event's part.

        The current window is compared with the whole reference. What is usual is taken from the reference itself: its
        newest slice (its newer half if that is shorter) is compared with what lies before it.
        """
        reference, current = self.reference, self.current
        first, last = _bounds(reference)
        cut = last - min(self.span, (last - first + 1) // 2)
        newer = pl.col(TIME).cast(pl.Int64) > cut
        known = reference.filter(~newer)[column].unique()
        parts = [(reference.filter(newer), known), (current, reference[column].unique())]
        return pl.concat(
            frame.with_columns(pl.col(column).is_in(ids.implode()).not_().alias("unknown")) for frame, ids in parts
        )

    def days(self, window: int) -> pl.Series:
        """Events on each whole day of a window, counted back from its last event; empty if it is shorter than a day."""
        events = self.events.filter(pl.col(WINDOW) == window)
        first, last = _bounds(events)
        whole = (last - first + 1) // _DAY
        times = events[TIME].cast(pl.Int64)
        ago = (last - times) // _DAY
        counts = ago.filter(ago < whole).value_counts(name="events").rename({times.name: "ago"})
        every = pl.DataFrame({"ago": pl.int_range(whole, dtype=pl.Int64, eager=True)})
        return every.join(counts, on="ago", how="left").sort("ago", descending=True)["events"].fill_null(0)


def cut(
    interactions: pl.DataFrame, window: tuple[datetime, datetime], days: float | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of a window, and the newest events after it.

    Args:
        interactions: canonical.
        window: first and last time, both included.
        days: how far back from the newest event the second part reaches; as far as there is something if `None`.
    """
    first, last = window
    later = interactions.filter(pl.col(TIME) > last)
    if days is not None:
        later = later.filter(pl.col(TIME) > pl.col(TIME).max() - timedelta(days=days))
    return interactions.filter(pl.col(TIME).is_between(first, last)), later


def _slice(last: int, span: int, whole: int) -> pl.Expr:
    number = (last - pl.col(TIME).cast(pl.Int64)) // span
    return pl.when(number < whole).then(number)


def _bounds(events: pl.DataFrame) -> tuple[int, int]:
    """First and last time in microseconds."""
    times = events[TIME].cast(pl.Int64)
    return times.min(), times.max()  # pyright: ignore[reportReturnType]
