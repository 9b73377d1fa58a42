"""Is the model as sure of itself? Its scores for what people did in either window."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.columns import USER
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.drift.bins import binned
from recloop.drift.comparison import Comparison, compare
from recloop.drift.inputs import Inputs
from recloop.drift.windows import CODE, SLICE, WINDOW
from recloop.models.base import Model
from recloop.retrieval.exact import rank

_BATCH = 256


def measure(inputs: Inputs) -> Comparison | None:
    """Distribution of the mean score of the best unseen items of contexts, which are the blocks; needs a model.

    Contexts have equal lengths in time, so that a longer window does not by itself mean longer histories.
    """
    if inputs.model is None:
        return None
    model, items = inputs.model
    blocks = _drawn(inputs)
    inside = inputs.windows.events.join(blocks, on=[WINDOW, CODE, SLICE]).with_columns(pl.col("block").alias(USER))
    contexts = Contexts.from_frame(inside, Vocabulary(blocks["block"]), items)
    scores = _scores(model, contexts, min(inputs.config.top_k, len(items)))
    observations = blocks.sort("block").with_columns(pl.Series("score", scores)).filter(pl.col("score").is_finite())
    if observations.is_empty():
        return None
    observations, labels = binned(observations, "score")
    return compare(observations, labels, column="score", tolerance=inputs.config.score_tolerance)


def _drawn(inputs: Inputs) -> pl.DataFrame:
    """At most `contexts` blocks of each window, with ``block``, a name of each."""
    rng = np.random.default_rng(inputs.config.seed)
    blocks = inputs.windows.blocks()
    drawn = (
        blocks.with_columns(pl.Series("draw", rng.permutation(blocks.height)))
        .filter(pl.col("draw").rank().over(WINDOW) <= inputs.config.contexts)
        .select(WINDOW, CODE, SLICE)
    )
    return drawn.with_columns(pl.concat_str(WINDOW, CODE, SLICE, separator="-").alias("block"))


def _scores(model: Model, contexts: Contexts, k: int) -> NDArray[np.float64]:
    """Mean score of the best `k` unseen items of each context, (B,); infinite where fewer than `k` are unseen."""
    means = [
        rank(model, contexts.take(np.arange(start, min(start + _BATCH, len(contexts)))), k).scores.mean(axis=1)
        for start in range(0, len(contexts), _BATCH)
    ]
    return np.concatenate(means, dtype=np.float64)
