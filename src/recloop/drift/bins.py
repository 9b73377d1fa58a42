"""Bins for numbers."""

from itertools import pairwise

import numpy as np
import polars as pl

from recloop.drift.comparison import BIN
from recloop.drift.windows import WINDOW

_FEW = 20
_QUANTILES = 10


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
