"""Do people choose the same items? How events spread over established items."""

import polars as pl

from recloop.columns import ITEM
from recloop.drift.bins import by_item
from recloop.drift.comparison import Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Share of events by item, among items that occur in the first half of the reference or of its `popularity_days`.

    Items that came later were not there all the time, so their share grows without any change of taste.
    """
    windows = inputs.windows.of_late(inputs.config.popularity_days)
    established = windows.first_half[ITEM].unique()
    events = windows.events.filter(pl.col(ITEM).is_in(established.implode()))
    observations, labels = by_item(events)
    return compare(observations, labels, column=ITEM, tolerance=inputs.config.tolerance)
