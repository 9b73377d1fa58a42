"""Do people choose the same items? How events spread over established items."""

import polars as pl

from recloop.columns import ITEM
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs
from recloop.drift.windows import WINDOW

_HEAD = 300
_TAIL = 16
_EVENTS = 10


def measure(inputs: Inputs) -> Comparison | None:
    """Share of events by item, among items that occur in the first half of the reference.

    Items that came later were not there all the time, so their share grows without any change of taste.

    The most popular items are a bin each: at most 300, and only with at least 10 events a window to be expected. The
    others are dealt into 16 bins by the order of their ids, which has nothing to do with how often they occur. An
    item's popularity is the mean of its shares in both windows, so that neither is favoured by the choice.
    """
    established = inputs.windows.first_half[ITEM].unique()
    events = inputs.windows.events.filter(pl.col(ITEM).is_in(established.implode()))
    sizes = pl.len().over(WINDOW)
    smallest = events.group_by(WINDOW).len()["len"].min()
    items = (
        events.select(ITEM, (0.5 / sizes).alias("share"))
        .group_by(ITEM)
        .agg(pl.col("share").sum())
        .sort(ITEM)
        .with_columns((pl.int_range(pl.len()) % _TAIL).alias("tail"))
        .sort("share", ITEM, descending=[True, False])
        .with_row_index("rank")
    )
    own = items.filter((pl.col("rank") < _HEAD) & (pl.col("share") * smallest >= _EVENTS)).height
    number = pl.when(pl.col("rank") < own).then(pl.col("rank")).otherwise(own + pl.col("tail")).cast(pl.Int64)
    observations = events.join(items.select(ITEM, number.alias(BIN)), on=ITEM)
    labels = [*items[ITEM][:own].to_list(), *(f"others {number + 1}" for number in range(_TAIL))]
    return compare(observations, labels, column=ITEM, tolerance=inputs.config.tolerance)
