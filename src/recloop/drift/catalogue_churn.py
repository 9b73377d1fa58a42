"""Does the catalogue lose items faster than usual? What was taken lately, on items that nobody takes any more.

`unknown_items` sees what comes and is silent about what goes.
"""

import numpy as np
import polars as pl

from recloop.columns import ITEM
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs
from recloop.drift.windows import CODE, SLICE, WINDOW

_PEOPLE = 10


def measure(inputs: Inputs) -> Comparison | None:
    """Share of the events of a slice on items that do not occur in what followed it; only a rise is drift.

    The newest slice of the reference is followed by the current window. What is usual comes from the reference itself:
    the slice before that one is followed by it. Fewer events hold fewer items, so both that follow are thinned evenly
    to the number of events of the one that has fewer. Rare items come and go by chance, which the allowance for people
    knows nothing of: only items count of which at least 10 people were to be expected in what followed.

    Nothing where the windows overlap, or where the reference is shorter than two slices.
    """
    windows = inputs.windows
    newest, before = (windows.reference.filter(pl.col(SLICE) == number) for number in (0, 1))
    if not windows.sequential or newest.is_empty() or before.is_empty():
        return None
    kept = min(newest.height, windows.current.height)
    observations = pl.concat(
        _judged(events, _thinned(later[ITEM], kept)).with_columns(pl.lit(window, dtype=pl.Int8).alias(WINDOW))
        for window, (events, later) in enumerate([(before, newest), (newest, windows.current)])
    )
    tolerance = inputs.config.unknown_tolerance
    return compare(observations, ["still taken", "taken no more"], column=ITEM, tolerance=tolerance, growing=1)


def _judged(events: pl.DataFrame, later: pl.Series) -> pl.DataFrame:
    """Events on items that are taken often enough, with `BIN`: 1 if the item is not in `later`."""
    expected = pl.col(CODE).n_unique().over(ITEM) * len(later) / events.height
    gone = pl.col(ITEM).is_in(later.unique().implode()).not_().cast(pl.Int64)
    return events.filter(expected >= _PEOPLE).with_columns(gone.alias(BIN))


def _thinned(items: pl.Series, count: int) -> pl.Series:
    return items.gather(np.arange(count) * len(items) // count)
