"""How much of a mean over people was lost, and how much would seem lost by chance.

Shapes: U people before, V people lately; who occurs in both counts in both.

**Loss.** ``1 - M' / M`` for M the mean of the U people's numbers before and M' that of the V lately; 0 where there is
more than before.

**Chance.** A loss is more than the share t that is tolerated if ``D = M' - (1 - t) M`` is below 0, which is linear in
both means, so no ratio has to be close to normal (Fieller, "Some problems in interval estimation", Journal of the Royal
Statistical Society B, 1954). People are the units: person u has the influence ``psi_u = (m'_u - M') / V - (1 - t) (m_u
- M) / U`` on it, and its variance is ``n / (n - 1) sum psi_u^2`` over all n people. Where hits are rare, few people may
have none by chance and would seem to be sure of it: the variance of a person's number lately, s'^2, counts as what it
would be had all numbers shrunk alike, ``(1 - t)^2 s^2``, if it is less.

**Threshold.** ``t + q sd(D) / M``, at most 1, with q the quantile of Student's t distribution at the people of the
smaller set, less one.
"""

import numpy as np
import polars as pl
from scipy import stats

from recloop.columns import USER
from recloop.drift.comparison import Comparison, Numbers
from recloop.drift.config import DriftConfig
from recloop.drift.held_out import QUESTIONS, SCORE


def lost(before: pl.DataFrame, lately: pl.DataFrame, *, column: str, tolerance: float, least: int) -> Comparison | None:
    """Compare the means of two sets of people; only a loss is drift.

    Args:
        before: `USER`, each once, `SCORE`, at least 0, and `QUESTIONS` behind it.
        lately: the same.
        column: what the numbers are.
        tolerance: t, the share whose loss would not matter even if it were certain.
        least: fewest people in each set.

    Returns:
        `None` where there are fewer people, or where there was nothing to lose.
    """
    earlier, later = before[SCORE].to_numpy(), lately[SCORE].to_numpy()
    if min(len(earlier), len(later)) < max(2, least) or not earlier.any():
        return None
    mean, kept = float(earlier.mean()), 1 - tolerance
    parts = [
        before.select(USER, ((pl.col(SCORE) - pl.col(SCORE).mean()) * -kept / pl.len()).alias("psi")),
        lately.select(USER, ((pl.col(SCORE) - pl.col(SCORE).mean()) / pl.len()).alias("psi")),
    ]
    psi = pl.concat(parts).group_by(USER).agg(pl.col("psi").sum())["psi"].to_numpy()
    shrunk = max(0.0, float(kept**2 * earlier.var(ddof=1) - later.var(ddof=1)))
    deviation = float(np.sqrt(len(psi) / (len(psi) - 1) * (psi @ psi) + shrunk / len(later)))
    degrees = min(len(earlier), len(later)) - 1

    def threshold(alarm: float) -> float:
        return float(min(1.0, tolerance + stats.t.ppf(1 - alarm, degrees) * deviation / mean))

    return Comparison(
        column=column,
        statistic="loss",
        value=max(0.0, 1 - float(later.mean()) / mean),
        threshold=threshold,
        n_reference=int(before[QUESTIONS].sum()),
        n_current=int(lately[QUESTIONS].sum()),
        shown=Numbers(reference=earlier, current=later),
    )


def metric_lost(before: pl.DataFrame, lately: pl.DataFrame, config: DriftConfig) -> Comparison | None:
    """`lost`, of the metric of next items, as far as `config` does not tolerate it."""
    return lost(before, lately, column=config.metric, tolerance=config.metric_tolerance, least=config.min_users)
