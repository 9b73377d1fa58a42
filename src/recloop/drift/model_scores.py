"""Is the model as sure of itself? Its scores for what people did in either window."""

import numpy as np
import polars as pl

from recloop.drift.bins import binned
from recloop.drift.comparison import Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Distribution of the mean score of the best unseen items of contexts; needs a model.

    Contexts that have seen all but fewer than `top_k` items are left out.
    """
    answers = inputs.answers
    if answers is None:
        return None
    means = answers.scores.mean(axis=1).astype(np.float64)
    observations = answers.blocks.with_columns(pl.Series("score", means)).filter(pl.col("score").is_finite())
    if observations.is_empty():
        return None
    observations, labels = binned(observations, "score")
    return compare(observations, labels, column="score", tolerance=inputs.config.score_tolerance)
