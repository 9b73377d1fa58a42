"""Is there as much going on? Events a day."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from recloop.drift.comparison import Comparison, Numbers
from recloop.drift.inputs import Inputs
from recloop.drift.windows import CODE, WINDOW

_DAYS = 7


def measure(inputs: Inputs) -> Comparison | None:
    """``|ln(a / b)|`` for a and b the mean events on whole days.

    Nothing where a window has fewer than seven, or where the windows overlap: two samples of one time say nothing of
    it.

    By chance it varies with the people, ``sum (n_u / N)^2``, and with the days, ``variance / (days * mean^2)``, in
    each window; the threshold is ``ln(volume_factor)`` plus a quantile of Student's t distribution at the days of the
    shorter window, less one.
    """
    windows = inputs.windows
    if not windows.sequential:
        return None
    daily = [windows.days(window).cast(pl.Float64).to_numpy() for window in (0, 1)]
    days = min(len(counts) for counts in daily)
    if days < _DAYS or not all(counts.any() for counts in daily):
        return None
    people = [_users(windows.events, window) for window in (0, 1)]
    variance = sum(map(_of_days, daily)) + sum(map(_of_people, people))
    tolerance = float(np.log(inputs.config.volume_factor))

    def threshold(alarm: float) -> float:
        return float(tolerance + np.sqrt(variance) * stats.t.ppf(1 - alarm / 2, days - 1))

    return Comparison(
        column="events_per_day",
        statistic="log_ratio",
        value=abs(float(np.log(daily[1].mean() / daily[0].mean()))),
        threshold=threshold,
        n_reference=len(daily[0]),
        n_current=len(daily[1]),
        shown=Numbers(reference=daily[0], current=daily[1]),
    )


def _users(events: pl.DataFrame, window: int) -> NDArray[np.float64]:
    return events.filter(pl.col(WINDOW) == window)[CODE].value_counts()["count"].cast(pl.Float64).to_numpy()


def _of_days(counts: NDArray[np.float64]) -> float:
    return float(counts.var(ddof=1) / (len(counts) * counts.mean() ** 2))


def _of_people(counts: NDArray[np.float64]) -> float:
    return float(np.sum(counts**2) / counts.sum() ** 2)
