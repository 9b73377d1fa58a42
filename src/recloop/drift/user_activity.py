"""Are people as active as before? Events a user in slices of time of equal length."""

import polars as pl

from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Share of blocks by their number of events: 1, 2 to 3, 4 to 7, and so on, doubling.

    Nothing where the windows overlap: two samples of one time say nothing of how much was done in it.
    """
    if not inputs.windows.sequential:
        return None
    blocks = inputs.windows.blocks()
    observations = blocks.with_columns(pl.col("events").log(2).floor().cast(pl.Int64).alias(BIN))
    largest = observations[BIN].max()
    assert isinstance(largest, int)
    labels = ["1", *(f"{2**power} to {2 ** (power + 1) - 1}" for power in range(1, largest + 1))]
    return compare(observations, labels, column="events_per_user", tolerance=inputs.config.tolerance)
