"""Would people be shown the same? The items that the model recommends for what they did in either window."""

import polars as pl

from recloop.columns import ITEM
from recloop.data.vocabulary import UNKNOWN
from recloop.drift.bins import by_item
from recloop.drift.comparison import Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Share of places by item, in slates of the best `top_k` unseen items of contexts; needs a model.

    Of a model that answers everybody alike, slates can only differ by what people have seen.
    """
    answers = inputs.answers
    if answers is None or inputs.model is None:
        return None
    shown = answers.blocks.with_columns(pl.Series(ITEM, answers.items)).explode(ITEM).filter(pl.col(ITEM) != UNKNOWN)
    if shown.is_empty():
        return None
    ids = inputs.model[1].ids.gather(shown[ITEM])
    observations, labels = by_item(shown.with_columns(ids.alias(ITEM)))
    return compare(observations, labels, column=ITEM, tolerance=inputs.config.score_tolerance)
