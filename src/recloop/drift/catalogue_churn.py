"""Does the catalogue lose items faster than usual? What was taken lately, on items that nobody takes any more.

`unknown_items` sees what comes and is silent about what goes.
"""

import numpy as np
import polars as pl

from recloop.columns import ITEM
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs
from recloop.drift.windows import SLICE, WINDOW


def measure(inputs: Inputs) -> Comparison | None:
    """Share of the events of a slice on items that do not occur in what followed it; only a rise is drift.

    The newest slice of the reference is followed by the current window. What is usual comes from the reference itself:
    the slice before that one is followed by it. Fewer events hold fewer items, so both that follow are thinned evenly
    to the number of events of the one that has fewer.

    Nothing where the windows overlap, or where the reference is shorter than two slices.
    """
    windows = inputs.windows
    newest, before = (windows.reference.filter(pl.col(SLICE) == number) for number in (0, 1))
    if not windows.sequential or newest.is_empty() or before.is_empty():
        return None
    kept = min(newest.height, windows.current.height)
    observations = pl.concat(
        events.with_columns(
            pl.lit(window, dtype=pl.Int8).alias(WINDOW),
            pl.col(ITEM).is_in(_thinned(later[ITEM], kept).unique().implode()).not_().cast(pl.Int64).alias(BIN),
        )
        for window, (events, later) in enumerate([(before, newest), (newest, windows.current)])
    )
    tolerance = inputs.config.unknown_tolerance
    return compare(observations, ["still taken", "taken no more"], column=ITEM, tolerance=tolerance, growing=1)


def _thinned(items: pl.Series, count: int) -> pl.Series:
    return items.gather(np.arange(count) * len(items) // count)
