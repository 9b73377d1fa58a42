"""Bins for numbers and for items."""

from itertools import pairwise

import numpy as np
import polars as pl

from recloop.columns import ITEM
from recloop.drift.comparison import BIN
from recloop.drift.windows import WINDOW

_FEW = 20
_QUANTILES = 10
_HEAD = 300
_TAIL = 16
_EVENTS = 10


def binned(observations: pl.DataFrame, column: str) -> tuple[pl.DataFrame, list[str]]:
    """Observations with `BIN` for the numbers in `column`, and the names of the bins.

    At most 20 different numbers are each a bin; more are cut at the deciles, in which both windows weigh the same.
    """
    distinct = observations[column].unique().sort()
    if len(distinct) <= _FEW:
        edges = distinct.to_numpy()
        labels = _written(edges, 6)
        codes = np.searchsorted(edges, observations[column].to_numpy())
    else:
        edges = _deciles(observations, column)
        bounds = ["", *_written(edges, 4), ""]
        labels = [f"{low} to {high}".strip() for low, high in pairwise(bounds)]
        codes = np.searchsorted(edges, observations[column].to_numpy(), side="right")
    return observations.with_columns(pl.Series(BIN, codes, dtype=pl.Int64)), labels


def by_item(observations: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Observations with `BIN` for the item in `ITEM`, and the names of the bins; at least one row.

    The most frequent items are a bin each: at most 300, and only with at least 10 rows a window to be expected. The
    others are dealt into 16 bins by the order of their ids, which has nothing to do with how often they occur. An
    item's frequency is the mean of its shares in both windows, so that neither is favoured by the choice.
    """
    sizes = pl.len().over(WINDOW)
    smallest = observations.group_by(WINDOW).len()["len"].min()
    items = (
        observations.select(ITEM, (0.5 / sizes).alias("share"))
        .group_by(ITEM)
        .agg(pl.col("share").sum())
        .sort(ITEM)
        .with_columns((pl.int_range(pl.len()) % _TAIL).alias("tail"))
        .sort("share", ITEM, descending=[True, False])
        .with_row_index("rank")
    )
    own = items.filter((pl.col("rank") < _HEAD) & (pl.col("share") * smallest >= _EVENTS)).height
    number = pl.when(pl.col("rank") < own).then(pl.col("rank")).otherwise(own + pl.col("tail")).cast(pl.Int64)
    labels = [*items[ITEM][:own].to_list(), *(f"others {number + 1}" for number in range(_TAIL))]
    return observations.join(items.select(ITEM, number.alias(BIN)), on=ITEM), labels


def _written(numbers: np.ndarray, digits: int) -> list[str]:
    """Different numbers as different texts, of as many significant digits as that takes but at least `digits`."""
    texts = [f"{number:.{digits}g}" for number in numbers]
    return texts if len(set(texts)) == len(numbers) else _written(numbers, digits + 1)


def _deciles(observations: pl.DataFrame, column: str) -> np.ndarray:
    weighted = observations.select(pl.col(column).alias("value"), (1 / pl.len().over(WINDOW)).alias("weight")).sort(
        "value"
    )
    reached = weighted["weight"].cum_sum() / weighted["weight"].sum()
    places = np.searchsorted(reached.to_numpy(), np.arange(1, _QUANTILES) / _QUANTILES)
    return np.unique(weighted["value"].to_numpy()[np.minimum(places, weighted.height - 1)])
