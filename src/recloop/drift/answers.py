"""What the champion answers to what people did in either window: asked once, looked at by several checks.

Shapes: C contexts, B of them in a batch, K places, D dimensions of the model's vectors.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from recloop.columns import USER
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.drift.config import DriftConfig
from recloop.drift.windows import CODE, SLICE, WINDOW, Windows
from recloop.models.base import Model
from recloop.nn.products import inner_products
from recloop.retrieval.exact import Ranked, rank

_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers to C contexts, which are blocks: what a person did in a slice of time.

    Contexts have equal lengths in time, so that a longer window does not by itself mean longer histories.

    Attributes:
        blocks: `WINDOW`, `CODE` and `SLICE` of each, C rows.
        items: the best unseen items, int64 (C, K); -1 where fewer are left.
        scores: of those, float32 (C, K); -inf there.
        vectors: of the contexts, float32 (C, D); `None` where scores do not factorise.
    """

    blocks: pl.DataFrame
    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    vectors: NDArray[np.float32] | None


def answers(windows: Windows, model: Model, items: Vocabulary, config: DriftConfig) -> Answers:
    """Ask the model for the best `top_k` items of at most `contexts` blocks of each window, drawn by `seed`."""
    blocks = _drawn(windows, config).sort("block")
    inside = windows.events.join(blocks, on=[WINDOW, CODE, SLICE]).with_columns(pl.col("block").alias(USER))
    contexts = Contexts.from_frame(inside, Vocabulary(blocks["block"]), items)
    k = min(config.top_k, len(items))
    batches = [
        _answer(model, contexts.take(np.arange(start, min(start + _BATCH, len(contexts)))), k)
        for start in range(0, len(contexts), _BATCH)
    ]
    vectors = [found for _, found in batches if found is not None]
    return Answers(
        blocks=blocks.select(WINDOW, CODE, SLICE),
        items=np.concatenate([best.items for best, _ in batches]),
        scores=np.concatenate([best.scores for best, _ in batches]),
        vectors=np.concatenate(vectors) if vectors else None,
    )


@torch.inference_mode()
def _answer(model: Model, contexts: Contexts, k: int) -> tuple[Ranked, NDArray[np.float32] | None]:
    """The best items and the vectors of a batch; where there are vectors, scores are their products."""
    people, items = model.user_vectors(contexts), model.item_vectors()
    if people is None or items is None:
        return rank(model, contexts, k), None
    return rank(model, contexts, k, scores=inner_products(people, items)), people.cpu().numpy()


def _drawn(windows: Windows, config: DriftConfig) -> pl.DataFrame:
    """At most `contexts` blocks of each window, with ``block``, a name of each."""
    rng = np.random.default_rng(config.seed)
    blocks = windows.blocks()
    drawn = (
        blocks.with_columns(pl.Series("draw", rng.permutation(blocks.height)))
        .filter(pl.col("draw").rank().over(WINDOW) <= config.contexts)
        .select(WINDOW, CODE, SLICE)
    )
    return drawn.with_columns(pl.concat_str(WINDOW, CODE, SLICE, separator="-").alias("block"))
