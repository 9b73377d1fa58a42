"""Is it still the same people? Events by users who were never seen before."""

import polars as pl

from recloop.columns import USER
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Share of events by unknown users, against the share that was usual in the reference; only a rise is drift.

    Nothing where the windows overlap, as there is no before and after.
    """
    if not inputs.windows.sequential:
        return None
    observations = inputs.windows.newcomers(USER).with_columns(pl.col("unknown").cast(pl.Int64).alias(BIN))
    return compare(
        observations, ["known", "unknown"], column=USER, tolerance=inputs.config.unknown_tolerance, growing=1
    )
