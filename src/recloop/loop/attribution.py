"""What people did with what they were shown: events joined to the places of slates, and an account of all of them.

An event belongs to a place if it names the slate's request, the slate held its item, and it happened within the window:
``-skew <= event's time - slate's time <= window``. Times are those that the sender gave, so the order of arrival does
not matter. Every event has exactly one fate, the first of these that holds:

| fate | the event |
| --- | --- |
| `organic` | names no request |
| `unknown_request` | names one that was not logged: lost, or made up |
| `not_shown` | names the slate of a shadow |
| `other_user` | is of somebody else than the slate was for; a slate for nobody is for everybody |
| `not_on_slate` | is about an item that the slate did not hold |
| `early` | happened before the slate, beyond what clocks may differ |
| `late` | happened after the window |
| `repeated` | repeats request, item and type of an earlier one (in time, then in order of storage) under another id |
| `attributed` | counts |

Of the attributed events each place gets its *rewards*: `view`, `click`, `purchase` (0 or 1), `rating` (the value of the
first), `other` (types that are none of these) and, for each of the first four, how long after the slate it came. A
place is *acted on* if it has a click, a purchase or a rating. It is *skipped* if it is not acted on and lies above the
last place of its slate that is, or directly below it: the eye has been there (Joachims et al., 2005, "Click > Skip
Above" and "Click > No-Click Next"). Further down nothing is known. If an item stands twice on a slate, its first place
gets the events.

Events and impressions are split on disk by request; memory holds one part of them and a row a user.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
from pydantic import Field

from recloop.columns import EVENT, ITEM, POSITION, REQUEST, TIME, USER, VALUE
from recloop.config import Config
from recloop.loop.bots import ACT, BotConfig, flags
from recloop.loop.partitions import Partitions
from recloop.store import events as stored_events
from recloop.store.slates import PLACES

FATES = (
    "organic",
    "unknown_request",
    "not_shown",
    "other_user",
    "not_on_slate",
    "early",
    "late",
    "repeated",
    "attributed",
)
KINDS = ("view", "click", "purchase", "rating")
OUTCOMES = ("purchase", "rating", "click", "view", "skip", "none")

REWARDS: dict[str, pl.DataType] = {
    "view": pl.Int8(),
    "click": pl.Int8(),
    "purchase": pl.Int8(),
    "rating": pl.Float64(),
    "other": pl.Int32(),
    "skip": pl.Int8(),
    "outcome": pl.Enum(OUTCOMES),
    "view_delay": pl.Int64(),
    "click_delay": pl.Int64(),
    "purchase_delay": pl.Int64(),
    "rating_delay": pl.Int64(),
    "complete": pl.Boolean(),
    "flagged": pl.Boolean(),
}
"""What attribution adds to an impression. `outcome` is the first of `OUTCOMES` that holds; delays are microseconds,
null where there is no such event; `complete` says that the window is over; `flagged`, that its user is."""

_EVENTS: dict[str, pl.DataType] = {
    name: stored_events.SCHEMA[name] for name in ("seq", USER, ITEM, EVENT, VALUE, REQUEST, TIME)
}
_IMPRESSIONS: dict[str, pl.DataType] = dict(PLACES)
_MICRO = 1_000_000


class AttributionConfig(Config):
    """Which events count for what.

    Attributes:
        window_seconds: how long after a slate an event may happen.
        skew_seconds: how far before it, since clocks differ.
        views, clicks, purchases, ratings: types of events.
        bots: who does not act like a person.
        parts: into how many parts the rows are split on disk; one is in memory at a time.
    """

    window_seconds: float = Field(default=86_400, gt=0)
    skew_seconds: float = Field(default=60, ge=0)
    views: tuple[str, ...] = ("view",)
    clicks: tuple[str, ...] = ("click",)
    purchases: tuple[str, ...] = ("purchase",)
    ratings: tuple[str, ...] = ("rating",)
    bots: BotConfig = BotConfig()
    parts: int = Field(default=64, ge=1, le=1_024)


@dataclass(frozen=True, kw_only=True)
class Account:
    """How many of everything. The fates of events add up to `events`.

    Attributes:
        events: events read.
        organic, unknown_request, not_shown, other_user, not_on_slate, early, late, repeated, attributed: their fates.
        slates: slates that were shown.
        shadows: slates that were not.
        impressions: places of the slates that were shown.
        incomplete: shown slates whose window is not over.
        acted: places acted on.
        skipped: places skipped.
        flagged_users: users who do not act like people.
        flagged_impressions: places that were shown to them.
        flagged_events: attributed events on these places.
    """

    events: int = 0
    organic: int = 0
    unknown_request: int = 0
    not_shown: int = 0
    other_user: int = 0
    not_on_slate: int = 0
    early: int = 0
    late: int = 0
    repeated: int = 0
    attributed: int = 0
    slates: int = 0
    shadows: int = 0
    impressions: int = 0
    incomplete: int = 0
    acted: int = 0
    skipped: int = 0
    flagged_users: int = 0
    flagged_impressions: int = 0
    flagged_events: int = 0


class Attribution:
    """The outcome of `attribute`.

    Attributes:
        account: how many of everything.
        flags: users who do not act like people, columns `bots.FLAGS`.
    """

    def __init__(self, places: Partitions, account: Account, flagged: pl.DataFrame) -> None:
        self._places = places
        self.account = account
        self.flags = flagged

    def frames(self) -> Iterator[pl.DataFrame]:
        """The impressions with their rewards, whole slates in bounded frames: `slates.PLACES`, then `REWARDS`.

        Each frame is sorted by time, request and position; the frames are not in the order of time.
        """
        for index in self._places.indices():
            frame = _flagged(self._places.read(index, _PART), self.flags)
            if frame.height:
                yield frame.select(*_IMPRESSIONS, *REWARDS).sort(TIME, REQUEST, POSITION)

    def frame(self) -> pl.DataFrame:
        """All of them at once, sorted by time, request and position."""
        return pl.concat([pl.DataFrame(schema=_IMPRESSIONS | REWARDS), *self.frames()]).sort(TIME, REQUEST, POSITION)


def attribute(
    *,
    events: Iterable[pl.DataFrame],
    impressions: Iterable[pl.DataFrame],
    config: AttributionConfig,
    now: int,
    scratch: Path,
) -> Attribution:
    """Give every impression its outcome.

    Args:
        events: frames of events from the first slate on, as `Store.events_after` or `logged.events` gives them. They
            are read before the impressions, since a slate may reach the store after the events that follow from it.
        impressions: frames of impressions, as `Store.impressions_after` or `logged.impressions` gives them.
        config: what counts.
        now: microseconds since 1970 UTC; a slate is complete if its window is over.
        scratch: an empty folder for the parts, which the result reads: keep it as long.
    """
    of_events = Partitions(scratch / "events", REQUEST, config.parts)
    of_places = Partitions(scratch / "impressions", REQUEST, config.parts)
    of_moments = Partitions(scratch / "moments", USER, config.parts)
    read = 0
    for frame in events:
        read += frame.height
        act = (~pl.col(EVENT).is_in(config.views)).alias(ACT)
        of_moments.add(frame.filter(act).select(USER, TIME, act))
        of_events.add(frame.filter(pl.col(REQUEST).is_not_null()).select(*_EVENTS))
    for frame in impressions:
        begins = pl.col(POSITION).eq(0) & pl.col("arm").ne("shadow")
        of_moments.add(frame.filter(begins).select(USER, TIME, pl.lit(value=False).alias(ACT)))
        of_places.add(frame.select(*_IMPRESSIONS))
    for parts in (of_events, of_places, of_moments):
        parts.finish()

    results = Partitions(scratch / "attributed", REQUEST, config.parts)
    counts = dict.fromkeys(asdict(Account()), 0) | {"events": read}
    shown: pl.DataFrame = pl.DataFrame(schema={USER: pl.String(), "places": pl.UInt32(), "acted": pl.UInt32()})
    for index in of_places.indices():
        places, joined = of_places.read(index, _IMPRESSIONS), of_events.read(index, _EVENTS)
        if places.is_empty() and joined.is_empty():
            continue
        fates = _fates(joined, places, config)
        rewarded = _rewarded(places, fates.filter(pl.col("fate") == "attributed"), config, now)
        results.write(index, rewarded)
        for name, count in (fates["fate"].value_counts().iter_rows()) if fates.height else ():
            counts[name] += count
        for name, count in _sizes(places, rewarded).items():
            counts[name] += count
        shown = pl.concat([shown, _shown(rewarded)]).group_by(USER).sum()
    results.finish()
    counts["organic"] = read - sum(counts[fate] for fate in FATES if fate != "organic")

    flagged = flags(of_moments, shown, config.bots)
    for index in results.indices():
        theirs = _flagged(results.read(index, _PART), flagged).filter("flagged")
        counts["flagged_impressions"] += theirs.height
        counts["flagged_events"] += int(theirs["attributed"].sum())
    counts["flagged_users"] = flagged[USER].n_unique()
    return Attribution(results, Account(**counts), flagged)


def _fates(events: pl.DataFrame, places: pl.DataFrame, config: AttributionConfig) -> pl.DataFrame:
    """The events of a part with `fate`, and with `position` and `delay` where they are known."""
    slates = places.group_by(REQUEST).agg(
        pl.col(USER).first().alias("for_user"), pl.col(TIME).first().alias("served"), pl.col("arm").first()
    )
    first_places = places.group_by(REQUEST, ITEM).agg(pl.col(POSITION).min())
    joined = events.sort(TIME, "seq").join(slates, on=REQUEST, how="left", maintain_order="left")
    joined = joined.join(first_places, on=[REQUEST, ITEM], how="left", maintain_order="left")
    delay = pl.col(TIME) - pl.col("served")
    fate = (
        pl.when(pl.col("served").is_null())
        .then(pl.lit("unknown_request"))
        .when(pl.col("arm") == "shadow")
        .then(pl.lit("not_shown"))
        .when(pl.col("for_user") != pl.col(USER))
        .then(pl.lit("other_user"))
        .when(pl.col(POSITION).is_null())
        .then(pl.lit("not_on_slate"))
        .when(delay < -config.skew_seconds * _MICRO)
        .then(pl.lit("early"))
        .when(delay > config.window_seconds * _MICRO)
        .then(pl.lit("late"))
        .otherwise(pl.lit("attributed"))
    )
    judged = joined.with_columns(delay.alias("delay"), fate.alias("fate"))
    first = pl.struct(REQUEST, ITEM, EVENT, "fate").is_first_distinct()
    again = (pl.col("fate") == "attributed") & ~first
    return judged.with_columns(pl.when(again).then(pl.lit("repeated")).otherwise("fate").alias("fate"))


def _rewarded(places: pl.DataFrame, events: pl.DataFrame, config: AttributionConfig, now: int) -> pl.DataFrame:
    """The shown places of a part with their rewards; `actor` is who acted, where nobody is known to have asked."""
    types = {
        kind: list(chosen)
        for kind, chosen in zip(KINDS, (config.views, config.clicks, config.purchases, config.ratings), strict=True)
    }
    of_kind = {kind: pl.col(EVENT).is_in(chosen) for kind, chosen in types.items()}
    known = [name for chosen in types.values() for name in chosen]
    outcomes = events.group_by(REQUEST, POSITION, maintain_order=True).agg(
        *(of_kind[kind].any().cast(pl.Int8).alias(kind) for kind in ("view", "click", "purchase")),
        pl.col(VALUE).filter(of_kind["rating"]).first().alias("rating"),
        of_kind["rating"].any().alias("rated"),
        (~pl.col(EVENT).is_in(known)).sum().cast(pl.Int32).alias("other"),
        *(pl.col("delay").filter(of_kind[kind]).min().alias(f"{kind}_delay") for kind in KINDS),
        pl.len().alias("attributed"),
    )
    actors = events.group_by(REQUEST).agg(pl.col(USER).first().alias("by"))
    shown = places.filter(pl.col("arm") != "shadow").join(outcomes, on=[REQUEST, POSITION], how="left")
    shown = shown.join(actors, on=REQUEST, how="left")
    filled = shown.with_columns(
        pl.col("view", "click", "purchase", "other", "attributed").fill_null(0),
        pl.col("rated").fill_null(value=False),
        pl.coalesce(USER, "by").alias("actor"),
        (pl.col(TIME) + round(config.window_seconds * _MICRO) <= now).alias("complete"),
    )
    acted = (pl.col("click") == 1) | (pl.col("purchase") == 1) | pl.col("rated")
    last = pl.col(POSITION).filter(acted).max().over(REQUEST)
    skip = ~acted & (pl.col(POSITION) <= last + 1).fill_null(value=False)
    holds = {
        "purchase": pl.col("purchase") == 1,
        "rating": pl.col("rated"),
        "click": pl.col("click") == 1,
        "view": pl.col("view") == 1,
        "skip": skip,
    }
    outcome = pl.coalesce(*(pl.when(true).then(pl.lit(name)) for name, true in holds.items()), pl.lit("none"))
    return filled.with_columns(
        acted.alias("acted"), skip.cast(pl.Int8).alias("skip"), outcome.cast(pl.Enum(OUTCOMES)).alias("outcome")
    ).select(*_PART)


def _shown(places: pl.DataFrame) -> pl.DataFrame:
    """Places shown to each user on slates of two and more, and acted on."""
    several = places.filter(pl.len().over(REQUEST) >= 2)
    return several.group_by(pl.col("actor").alias(USER)).agg(
        pl.len().cast(pl.UInt32).alias("places"), pl.col("acted").sum().cast(pl.UInt32)
    )


def _sizes(places: pl.DataFrame, shown: pl.DataFrame) -> dict[str, int]:
    slates = shown[REQUEST].n_unique()
    return {
        "slates": slates,
        "shadows": places[REQUEST].n_unique() - slates,
        "impressions": shown.height,
        "incomplete": shown.filter(~pl.col("complete"))[REQUEST].n_unique(),
        "acted": int(shown["acted"].sum()),
        "skipped": int(shown["skip"].sum()),
    }


def _flagged(places: pl.DataFrame, flagged: pl.DataFrame) -> pl.DataFrame:
    users = flagged[USER].unique().to_list()
    return places.with_columns(pl.col("actor").is_in(users).fill_null(value=False).alias("flagged"))


_PART: dict[str, pl.DataType] = (
    _IMPRESSIONS
    | {name: kind for name, kind in REWARDS.items() if name != "flagged"}
    | {"acted": pl.Boolean(), "attributed": pl.UInt32(), "actor": pl.String()}
)
