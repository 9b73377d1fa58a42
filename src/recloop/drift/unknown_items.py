"""Does the catalogue outgrow the model? Events on items that were never seen before."""

import polars as pl

from recloop.columns import ITEM
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Share of events on unknown items, against the share that was usual in the reference; only a rise is drift."""
    observations = inputs.windows.newcomers(ITEM).with_columns(pl.col("unknown").cast(pl.Int64).alias(BIN))
    return compare(
        observations, ["known", "unknown"], column=ITEM, tolerance=inputs.config.unknown_tolerance, growing=1
    )
