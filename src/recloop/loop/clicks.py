"""How a champion's slates fare: lately, against when it was new.

A slate fares well if it is acted on. With a_u and n_u the slates of user u that were acted on and all of them, a rate
is ``r = sum a_u / sum n_u``. People are the units: the logarithm of the ratio of two rates has the influence
``psi_u = (a'_u - r' n'_u) / sum a' - (a_u - r n_u) / sum a`` and the variance ``U / (U - 1) sum psi_u^2``.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import ndtri

from recloop.columns import EVENT, REQUEST, TIME, USER
from recloop.loop.decision import ClickRates
from recloop.store import Store

ACTS = ("click", "purchase", "rating")
SLATES = 20_000
EVENTS = 100_000
LEAST = 300
SETTLED = 3_600_000_000
"""Microseconds after which most of what follows from a slate has followed."""


def click_rates(
    store: Store, bundle: str, *, now: int, acts: Sequence[str] = ACTS, slates: int = SLATES, least: int = LEAST
) -> ClickRates | None:
    """The rates of the first and of the last third of a champion's newest slates, in time.

    Args:
        store: where slates and events are.
        bundle: id of the champion.
        now: microseconds since 1970 UTC; slates of the last hour are left out, since people may still act on them.
        acts: types of events.
        slates: how many of the newest slates of the store are looked at.
        least: fewest slates in a third.

    Returns:
        `None` where there is too little to tell.
    """
    served = pl.concat([pl.DataFrame(schema=_SLATES), *(_served(frame) for frame in _newest(store, slates))])
    served = served.filter(pl.col("bundle") == bundle, pl.col("arm") == "champion", pl.col(TIME) <= now - SETTLED)
    third = served.height // 3
    if third < least:
        return None
    acted = pl.concat([pl.Series(REQUEST, [], dtype=pl.String), *(_acted(frame, acts) for frame in _events(store))])
    judged = served.sort(TIME).with_columns(pl.col(REQUEST).is_in(acted.unique().to_list()).alias("acted"))
    return compare(judged[:third], judged[-third:])


def compare(before: pl.DataFrame, lately: pl.DataFrame, level: float = 0.95) -> ClickRates | None:
    """The rates of two sets of slates with `user_id` and `acted`; `None` if nothing was acted on in one of them."""
    counts = [_by_user(frame, name) for frame, name in ((before, "before"), (lately, "lately"))]
    users = counts[0].join(counts[1], on=USER, how="full", coalesce=True).fill_null(0)
    parts = {
        name: (users[f"acted_{name}"].to_numpy(), users[f"all_{name}"].to_numpy()) for name in ("before", "lately")
    }
    rates = {name: acted.sum() / all_.sum() for name, (acted, all_) in parts.items()}
    if not min(rates.values()):
        return None
    influence = {name: (acted - rates[name] * all_) / acted.sum() for name, (acted, all_) in parts.items()}
    psi = influence["lately"] - influence["before"]
    deviation = float(np.sqrt(len(psi) / max(1, len(psi) - 1) * (psi @ psi)))
    ratio = rates["lately"] / rates["before"]
    highest = ratio * np.exp(ndtri((1 + level) / 2) * deviation)
    return ClickRates(
        before=float(rates["before"]), lately=float(rates["lately"]), loss=float(1 - ratio), surely=float(1 - highest)
    )


_SLATES: dict[str, pl.DataType] = {
    REQUEST: pl.String(),
    USER: pl.String(),
    TIME: pl.Int64(),
    "bundle": pl.String(),
    "arm": pl.String(),
}


def _newest(store: Store, slates: int) -> list[pl.DataFrame]:
    return list(store.slates_after(max(0, store.last_slate_seq() - slates)))


def _events(store: Store) -> list[pl.DataFrame]:
    return list(store.events_after(max(0, store.last_event_seq() - EVENTS)))


def _served(frame: pl.DataFrame) -> pl.DataFrame:
    """Slates for nobody in particular are each of somebody else."""
    return frame.with_columns(pl.coalesce(USER, REQUEST).alias(USER)).select(*_SLATES)


def _acted(frame: pl.DataFrame, acts: Sequence[str]) -> pl.Series:
    return frame.filter(pl.col(EVENT).is_in(acts), pl.col(REQUEST).is_not_null())[REQUEST]


def _by_user(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.group_by(USER).agg(
        pl.col("acted").cast(pl.Float64).sum().alias(f"acted_{name}"), pl.len().cast(pl.Float64).alias(f"all_{name}")
    )
