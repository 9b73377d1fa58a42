"""Do people do the same kinds of things? The mix of event types."""

import polars as pl

from recloop.columns import EVENT
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Share of events by type."""
    events = inputs.windows.events
    labels = events[EVENT].unique().sort()
    observations = events.with_columns((pl.col(EVENT).rank("dense") - 1).cast(pl.Int64).alias(BIN))
    return compare(observations, labels.to_list(), column=EVENT, tolerance=inputs.config.tolerance)
