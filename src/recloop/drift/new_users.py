"""Are there more strangers than usual? People who were never seen before.

`unknown_users` counts their events: it sees few strangers who do much, and hardly sees many who do little.
"""

import polars as pl

from recloop.columns import USER
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs
from recloop.drift.windows import CODE, SLICE, WINDOW


def measure(inputs: Inputs) -> Comparison | None:
    """Share of people who are unknown, against the share that was usual in the reference; only a rise is drift.

    The longer one looks the more people come by for the first time, so both parts are a slice long. Nothing where the
    windows overlap, or where the reference is shorter than two slices.
    """
    windows = inputs.windows
    if not windows.sequential or windows.reference.filter(pl.col(SLICE) == 1).is_empty():
        return None
    people = windows.newcomers(USER).unique([WINDOW, CODE], maintain_order=True)
    observations = people.with_columns(pl.col("unknown").cast(pl.Int64).alias(BIN))
    return compare(
        observations, ["known", "unknown"], column=USER, tolerance=inputs.config.unknown_tolerance, growing=1
    )
