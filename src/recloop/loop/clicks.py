"""How a champion's slates fare: lately, against when it was new, place by place.

Further down fewer people look (Craswell and others, "An experimental comparison of click position-bias models", WSDM
2008), so a longer slate, or one in another order, changes how often a place is acted on without being better or worse.
If place j is looked at with probability theta_j, whatever stands there, theta_j cancels in the ratio of two rates of
the same place. So rates are compared within places, which needs no estimate of theta.

Shapes: U users, J places of a slate.

With a_j and n_j how often place j was acted on and shown before, and a'_j and n'_j the same lately, the places get the
weights ``w_j = n_j n'_j / (n_j + n'_j)`` of Mantel and Haenszel ("Statistical aspects of the analysis of data from
retrospective studies of disease", Journal of the National Cancer Institute, 1959), which are 0 for a place that was
shown at one time only. The rates are ``r = sum w_j a_j / n_j / sum w_j`` and r' likewise, and what is lost is
``1 - r' / r``. With equal slates at both times that is the ratio of all acts.

People are the units: the logarithm of r' / r has the influence ``psi_u = sum w_j (a'_uj - r'_j n'_uj) / n'_j / sum w_j
a'_j / n'_j`` less the same of before, given how often each place was shown, and the variance ``U / (U - 1) sum
psi_u^2``. Where nothing was acted on lately, half an act at a place like the others stands for r' in the bound, with
the variance of its logarithm, 2 (after Haldane, "The estimation and significance of the logarithm of a ratio of
frequencies", Annals of Human Genetics, 1956).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from recloop.columns import ARM, BUNDLE, EVENT, ITEM, POSITION, REQUEST, TIME, USER
from recloop.loop.decision import ClickRates
from recloop.store import Store

ACTED = "acted"
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

    A place is acted on if an event names the request and the item; of an item that stands on a slate twice that is the
    first place.

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
    frames = (_served(frame) for frame in store.impressions_after(max(0, store.last_slate_seq() - slates)))
    places = pl.concat([pl.DataFrame(schema=_PLACES), *frames])
    places = places.filter(pl.col(BUNDLE) == bundle, pl.col(ARM) == "champion", pl.col(TIME) <= now - SETTLED)
    newest = store.events_after(max(0, store.last_event_seq() - EVENTS))
    acted = pl.concat([pl.DataFrame(schema=_ACTS), *(_acts(frame, acts) for frame in newest)]).unique()
    found = places.join(acted.with_columns(pl.lit(value=True).alias(ACTED)), on=[REQUEST, ITEM], how="left")
    first = pl.col(POSITION) == pl.col(POSITION).min().over(REQUEST, ITEM)
    return by_thirds(found.with_columns(pl.col(ACTED).fill_null(value=False) & first), least)


def by_thirds(places: pl.DataFrame, least: int = LEAST) -> ClickRates | None:
    """The rates of the first and of the last third of slates, in time.

    Args:
        places: one row a place of a slate: `request_id`, `user_id`, `timestamp`, `position` and `acted`.
        least: fewest slates in a third.
    """
    served = places.select(TIME, REQUEST).unique().sort(TIME, REQUEST)[REQUEST]
    third = len(served) // 3
    if third < max(1, least):
        return None
    before, lately = (
        places.filter(pl.col(REQUEST).is_in(part.implode())) for part in (served[:third], served[-third:])
    )
    return compare(before, lately)


def compare(before: pl.DataFrame, lately: pl.DataFrame, level: float = 0.95) -> ClickRates | None:
    """The rates of two sets of places with `user_id`, `position` and `acted`.

    Returns:
        `None` if they have no place in common, or nothing was acted on before at those that they have.
    """
    sides = [_Side(frame) for frame in (before, lately)]
    n_places = max(len(side.shown) for side in sides)
    shown = np.stack([np.pad(side.shown, (0, n_places - len(side.shown))) for side in sides])
    weight = shown[0] * shown[1] / np.maximum(shown.sum(axis=0), 1)
    sums = [side.sum(weight) for side in sides]
    if not sums[0]:
        return None
    if sums[1]:
        ratio, variance = sums[1] / sums[0], _variance(sides, weight, sums)
    else:
        half = 0.5 * float(weight.sum() / shown[1][weight > 0].sum())
        ratio, variance = half / sums[0], 2 + _variance(sides[:1], weight, sums)
    rates = [found / float(weight.sum()) for found in sums]
    return ClickRates(
        before=rates[0],
        lately=rates[1],
        loss=1 - rates[1] / rates[0],
        surely=1 - ratio * float(np.exp(ndtri((1 + level) / 2) * np.sqrt(variance))),
    )


class _Side:
    """The places of one time: N rows."""

    def __init__(self, places: pl.DataFrame) -> None:
        self.users = places[USER]
        self._place = places[POSITION].cast(pl.Int64).to_numpy()
        self._acted = places[ACTED].cast(pl.Float64).to_numpy()
        self.shown = np.bincount(self._place)
        """How often each place was shown, int64 (J,)."""

    def sum(self, weight: NDArray[np.float64]) -> float:
        """The acts of a place a showing, weighted by `weight` (J,)."""
        return float(self._each(weight)[self._place] @ self._acted)

    def influence(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each row on `sum`, (N,)."""
        rate = np.bincount(self._place, weights=self._acted) / np.maximum(self.shown, 1)
        return self._each(weight)[self._place] * (self._acted - rate[self._place])

    def _each(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        return weight[: len(self.shown)] / np.maximum(self.shown, 1)


def _variance(sides: Sequence[_Side], weight: NDArray[np.float64], sums: Sequence[float]) -> float:
    """Of the logarithm of the ratio of `sums`; of the first alone if that is the only side."""
    psi = pl.concat(
        pl.DataFrame({USER: side.users, "psi": sign * side.influence(weight) / found})
        for side, found, sign in zip(sides, sums, (-1, 1), strict=False)
    )
    per_user = psi.group_by(USER).agg(pl.col("psi").sum())["psi"].to_numpy()
    return len(per_user) / max(1, len(per_user) - 1) * float(per_user @ per_user)


_PLACES: dict[str, pl.DataType] = {
    REQUEST: pl.String(),
    USER: pl.String(),
    TIME: pl.Int64(),
    BUNDLE: pl.String(),
    ARM: pl.String(),
    POSITION: pl.Int32(),
    ITEM: pl.String(),
}
_ACTS: dict[str, pl.DataType] = {REQUEST: pl.String(), ITEM: pl.String()}


def _served(frame: pl.DataFrame) -> pl.DataFrame:
    """Slates for nobody in particular are each of somebody else."""
    return frame.with_columns(pl.coalesce(USER, REQUEST).alias(USER)).select(*_PLACES)


def _acts(frame: pl.DataFrame, acts: Sequence[str]) -> pl.DataFrame:
    return frame.filter(pl.col(EVENT).is_in(acts), pl.col(REQUEST).is_not_null()).select(*_ACTS)
