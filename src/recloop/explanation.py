"""Why an item is scored as it is: what each item of the history adds.

Where scores are sums over the history the model tells the terms (`Model.contributions`). For all other models an item
adds what the score loses when it is left out of the history, with all its events: leave-one-out, the occlusion of
Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, for histories. For a model whose
scores are linear in the history both are the same.
Shapes: J items of the history, each once; K items to be explained; N events of the history; B contexts of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recloop.data.sequences import Contexts
from recloop.models import Model
from recloop.nn.products import inner_products

Method = Literal["exact", "leave_one_out"]
MOST = 200
"""Items of a history that are left out, those of the newest events; older ones stay in all histories."""
_BATCH = 64
_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What the items of a history add to the scores of K items.

    Attributes:
        history: int64 (J,), item indices, that of the newest event first.
        places: int64 (J,), where the newest event of each lies in the history.
        contributions: float32 (J, K).
        scores: float32 (K,), of the whole history.
        base: float32 (K,), what contributions are counted from: 0 where they are the terms of the scores, otherwise the
            scores of the empty history.
        method: how it was found out.
    """

    history: NDArray[np.int64]
    places: NDArray[np.int64]
    contributions: NDArray[np.float32]
    scores: NDArray[np.float32]
    base: NDArray[np.float32]
    method: Method

    @property
    def sums(self) -> NDArray[np.bool_]:
        """Whether `base` and `contributions` add up to the score, but for a thousandth of their size; (K,)."""
        size = np.abs(self.base) + np.abs(self.contributions).sum(axis=0)
        return np.abs(self.base + self.contributions.sum(axis=0) - self.scores) <= _TOLERANCE * size


@torch.inference_mode()
def explain(model: Model, context: Contexts, items: Sequence[int], most: int = MOST) -> Explanation:
    """What each item of one history adds to the scores of `items`.

    Args:
        model: trained.
        context: one person's history and features; an empty history is explained by nothing.
        items: K indices into the catalogue.
        most: items of the history to leave out at most, where that has to be done.
    """
    assert len(context) == 1
    backwards, last = np.unique(context.items[::-1], return_index=True)
    newest = np.argsort(last)
    history, places = backwards[newest], len(context.items) - 1 - last[newest]
    exact = model.contributions(context, items) if len(history) else None
    if exact is not None:
        (scores,) = _scores(model, context, items)
        return Explanation(
            history=history,
            places=places,
            contributions=exact[torch.from_numpy(newest).to(exact.device)].cpu().numpy(),
            scores=scores,
            base=np.zeros_like(scores),
            method="exact",
        )
    whole, nothing, *without = _scores(model, left_out(context, history[:most]), items)
    return Explanation(
        history=history[:most],
        places=places[:most],
        contributions=whole - np.array(without, dtype=np.float32).reshape(-1, len(items)),
        scores=whole,
        base=nothing,
        method="leave_one_out",
    )


def left_out(context: Contexts, items: NDArray[np.int64]) -> Contexts:
    """One history of N events as it is, empty, and without all events of each of J `items`; J + 2 contexts."""
    copies = context.take(np.zeros(len(items) + 2, dtype=np.int64))
    kept = np.ones((len(copies), len(context.items)), dtype=np.bool_)
    kept[1] = False
    kept[2:] = context.items != items[:, None]
    chosen = kept.ravel()
    return replace(
        copies,
        offsets=np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64),
        items=copies.items[chosen],
        timestamps=copies.timestamps[chosen],
        values=copies.values[chosen],
    )


def _scores(model: Model, contexts: Contexts, items: Sequence[int]) -> NDArray[np.float32]:
    """Scores of K items for each context, float32 (B, K); only those where scores are products of vectors."""
    vectors = model.item_vectors()
    wanted = torch.as_tensor(items, device=model.device)
    chosen = None if vectors is None else vectors[wanted]
    parts: list[Tensor] = []
    for start in range(0, len(contexts), _BATCH):
        batch = contexts.take(np.arange(start, min(start + _BATCH, len(contexts))))
        people = None if chosen is None else model.user_vectors(batch)
        if people is None or chosen is None:
            parts.append(model.score(batch)[:, wanted])
        else:
            parts.append(inner_products(people, chosen))
    return torch.cat(parts).cpu().numpy()
