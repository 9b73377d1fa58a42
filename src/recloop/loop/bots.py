"""Who does not act like a person. Such users are flagged, with the reason; nothing of theirs is deleted.

An *act* is an event that is not a view: pages send views by themselves, many at once. A user is flagged for

- ``acts`` or ``requests``: more of them within `burst_seconds` than people have. With m_u the most that user u ever had
  within that time and x_u = ln m_u, the bound is ``exp(median(x) + deviations * 1.4826 * MAD(x))``, where MAD is the
  median of ``|x - median(x)|`` and 1.4826 makes it the standard deviation where x is normal. Half of all users would
  have to be bots to move it. It is never below `burst_floor`, so that where everybody acts once a day, two acts are no
  burst.
- ``everything``: at least `everything_share` of the places that were shown to them acted on, over at least
  `everything_places` places, on slates of two places and more.
- ``regular``: acts at intervals that hardly differ. Over the n >= `regular_intervals` intervals between successive
  different times, ``1.4826 * MAD <= regular_spread * median``, where the median is at most `regular_seconds`: times
  that are only known to the day are regular too. People's intervals spread about as far as their median.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import Field

from recloop.columns import TIME, USER
from recloop.config import Config
from recloop.loop.partitions import Partitions

ACT = "act"
TIMES: dict[str, pl.DataType] = {USER: pl.String(), TIME: pl.Int64(), ACT: pl.Boolean()}
"""Columns of the moments of users: an act, or else a request; times are microseconds since 1970 UTC."""

FLAGS: dict[str, pl.DataType] = {
    USER: pl.String(),
    "reason": pl.String(),
    "measure": pl.Float64(),
    "bound": pl.Float64(),
}
"""Columns of the flags: one row a user and reason, with what was measured and what it was compared with."""

_MOST = {USER: pl.String(), "most": pl.Int64()}
_NORMAL = 1.4826
_MICRO = 1_000_000


class BotConfig(Config):
    """What is not like a person; see the module's docstring."""

    burst_seconds: int = Field(default=60, ge=1)
    burst_floor: int = Field(default=30, ge=1)
    deviations: float = Field(default=6.0, gt=0)
    everything_share: float = Field(default=0.9, gt=0, le=1)
    everything_places: int = Field(default=50, ge=1)
    regular_intervals: int = Field(default=20, ge=2)
    regular_spread: float = Field(default=0.05, ge=0)
    regular_seconds: float = Field(default=3_600, gt=0)


def flags(moments: Partitions, shown: pl.DataFrame, config: BotConfig) -> pl.DataFrame:
    """The users who do not act like people, columns `FLAGS`, sorted.

    Args:
        moments: all acts and requests, columns `TIMES`, split by user.
        shown: `user_id`, `places` and `acted`: places shown to each user on slates of two and more, and acted on.
        config: the bounds.
    """
    found = [_everything(shown, config)]
    most: dict[bool, list[pl.DataFrame]] = {True: [], False: []}
    for index in moments.indices():
        frame = moments.read(index, TIMES).drop_nulls(USER).sort(USER, TIME)
        if frame.is_empty():
            continue
        for act, parts in most.items():
            parts.append(_most(frame.filter(pl.col(ACT) == act), config))
        found.append(_regular(frame.filter(ACT), config))
    found += [_bursts("acts", most[True], config), _bursts("requests", most[False], config)]
    return pl.concat(found).sort(USER, "reason")


def burst_bound(most: Sequence[int], config: BotConfig) -> float:
    """The number of acts within `burst_seconds` above which a user is flagged, given the most of every user."""
    if not len(most):
        return float(config.burst_floor)
    logs = np.log(np.asarray(most, dtype=np.float64))
    middle = np.median(logs)
    spread = _NORMAL * np.median(np.abs(logs - middle))
    return max(float(config.burst_floor), float(np.exp(middle + config.deviations * spread)))


def _most(frame: pl.DataFrame, config: BotConfig) -> pl.DataFrame:
    """The most that each user had within the time of a burst."""
    if frame.is_empty():
        return pl.DataFrame(schema=_MOST)
    period = f"{config.burst_seconds * _MICRO}i"
    within = frame.rolling(index_column=TIME, period=period, group_by=USER).agg(pl.len().cast(pl.Int64).alias("most"))
    return within.group_by(USER).agg(pl.col("most").max())


def _bursts(reason: str, parts: list[pl.DataFrame], config: BotConfig) -> pl.DataFrame:
    frame = pl.concat([pl.DataFrame(schema=_MOST), *parts])
    bound = burst_bound(frame["most"].to_list(), config)
    return _flagged(frame.filter(pl.col("most") > bound), reason, pl.col("most"), bound)


def _everything(shown: pl.DataFrame, config: BotConfig) -> pl.DataFrame:
    share = pl.col("acted") / pl.col("places")
    often = shown.drop_nulls(USER).filter(pl.col("places") >= config.everything_places)
    return _flagged(often.filter(share >= config.everything_share), "everything", share, config.everything_share)


def _regular(acts: pl.DataFrame, config: BotConfig) -> pl.DataFrame:
    interval = pl.col(TIME).diff().over(USER)
    intervals = acts.unique([USER, TIME], maintain_order=True).select(USER, interval.alias("interval")).drop_nulls()
    middle = pl.col("interval").median()
    away = (pl.col("interval") - middle).abs().median()
    users = intervals.group_by(USER).agg(pl.len(), middle.alias("middle"), (_NORMAL * away / middle).alias("spread"))
    regular = users.filter(
        pl.col("len") >= config.regular_intervals,
        pl.col("middle") <= config.regular_seconds * _MICRO,
        pl.col("spread") <= config.regular_spread,
    )
    return _flagged(regular, "regular", pl.col("spread"), config.regular_spread)


def _flagged(users: pl.DataFrame, reason: str, measure: pl.Expr, bound: float) -> pl.DataFrame:
    return users.select(
        USER,
        pl.lit(reason).alias("reason"),
        measure.cast(pl.Float64).alias("measure"),
        pl.lit(bound, dtype=pl.Float64).alias("bound"),
    )
