"""Exact search: score every item, mask what may not be shown, keep the best.

Equal scores are ordered by item index, lower first, so that a ranking depends on nothing but the scores.

Shapes: B contexts in a batch, I items of the catalogue, K places of a slate, T targets, E examples.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recloop.data.ranks import UNRANKED
from recloop.data.sequences import Contexts, Examples
from recloop.data.vocabulary import UNKNOWN
from recloop.errors import ModelError
from recloop.models.base import Model, silent

MASKED = -torch.inf
MEMORY = 32 << 20
LARGEST_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The best items of B contexts, best first.

    Attributes:
        items: int64 (B, K); -1 where fewer than K items were left.
        scores: float32 (B, K); -inf there.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The only items that each of E examples may rank.

    Attributes:
        offsets: int64 (E + 1,), the candidates of example e are ``offsets[e]:offsets[e + 1]``.
        items: int64 (N,), repeats allowed, never `UNKNOWN`.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RankedBatch:
    """The answers to the examples ``start:stop``, B of them with T targets.

    Attributes:
        top: the K best items of each example.
        ranks: int64 (T,), candidates placed before each target, 0 for the first, ties by item index; `UNRANKED` where
            the target is not in the catalogue or is masked.
        target_scores: float32 (T,), the model's score of each target, masked or not; NaN where it is not in the
            catalogue.
        n_candidates: int64 (B,), items that were not masked.
    """

    start: int
    stop: int
    top: Ranked
    ranks: NDArray[np.int64]
    target_scores: NDArray[np.float32]
    n_candidates: NDArray[np.int64]


def top_k(scores: Tensor, k: int, seen: Sequence[int] = ()) -> tuple[list[int], list[float]]:
    """The best items of one score vector, as a service needs them.

    Args:
        scores: (I,), finite; left unchanged.
        k: how many at most.
        seen: item indices to leave out, repeats allowed, never `UNKNOWN`.

    Returns:
        At most `k` item indices, best first, and their scores; fewer where fewer items are left.
    """
    masked = _without(scores[None, :], torch.zeros(len(seen), dtype=torch.int64), torch.as_tensor(list(seen)))
    best = select(masked, k)
    kept = best.items[0] != UNKNOWN
    return best.items[0][kept].tolist(), best.scores[0][kept].tolist()


@torch.inference_mode()
def rank(
    model: Model,
    contexts: Contexts,
    k: int,
    *,
    mask_seen: bool = True,
    exclude: Sequence[Sequence[int]] | None = None,
    allowed: Sequence[NDArray[np.bool_] | None] | None = None,
    scores: Tensor | None = None,
) -> Ranked:
    """The best items of one batch of contexts.

    Args:
        model: what scores.
        contexts: B histories.
        k: places of a slate.
        mask_seen: leave out the items of the history.
        exclude: further items to leave out, one list a context.
        allowed: the only items that may be ranked, bool (I,) a context, or `None` where all may.
        scores: what the model gives the contexts, (B, I), where it is known already; left unchanged.
    """
    scores = model.score(contexts) if scores is None else scores
    if mask_seen:
        scores = _without_seen(scores, contexts)
    if exclude is not None:
        lengths = torch.tensor([len(items) for items in exclude])
        rows = torch.repeat_interleave(torch.arange(len(exclude)), lengths)
        scores = _without(scores, rows, torch.tensor([item for items in exclude for item in items], dtype=torch.int64))
    if allowed is not None and any(one is not None for one in allowed):
        whole = np.ones(scores.shape[1], dtype=np.bool_)
        masks = np.stack([whole if one is None else one for one in allowed])
        scores = scores.masked_fill(~torch.from_numpy(masks).to(scores.device), MASKED)
    return select(scores, k)


@torch.inference_mode()
def rank_examples(
    model: Model,
    examples: Examples,
    k: int,
    *,
    mask_seen: bool = True,
    candidates: Candidates | None = None,
    batch_size: int | None = None,
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = silent,
) -> Iterator[RankedBatch]:
    """Rank the whole catalogue for every example, a batch at a time; never more than a batch of scores is in memory.

    Args:
        model: what scores.
        examples: E questions with their answers.
        k: places of a slate.
        mask_seen: leave out the items of the context.
        candidates: rank only these, for comparison with papers that sample negatives.
        batch_size: examples a batch; by default as many as score into `MEMORY` bytes, at most `LARGEST_BATCH`.
        progress: wraps an iterable of steps and shows it under a description.

    Raises:
        ModelError: a score is not finite. No order could be told, and NaN, which nothing stands before, would pass for
            the best of all models.
    """
    size = batch_size or max(1, min(LARGEST_BATCH, MEMORY // (4 * max(1, model.n_items))))
    starts = range(0, len(examples), size)
    for start in cast("Iterable[int]", progress(starts, f"rank {model.name()}")):
        stop = min(start + size, len(examples))
        contexts = examples.contexts(start, stop)
        raw = model.score(contexts)
        if not _all_finite(raw):
            raise ModelError(
                f"{model.name()} gives scores that are not finite numbers; train it with a lower learning rate or more "
                "regularization."
            )
        scores = _without_seen(raw, contexts) if mask_seen else raw
        if candidates is not None:
            scores = _only(scores, candidates, start, stop)
        yield _answer(raw, scores, examples, start=start, stop=stop, k=k)


def select(scores: Tensor, k: int) -> Ranked:
    """The `k` best columns of each row, best first, equal scores by lower index; -inf means masked.

    `torch.topk` leaves the order of equal scores open, so rows where the k-th score occurs again beyond the slate are
    chosen once more: everything above that score, and of those equal to it the first.
    """
    rows, columns = scores.shape
    width = min(k, columns)
    values, items = torch.topk(scores, width, dim=1)
    if 0 < width < columns:
        last = values[:, -1:]
        tied = ((scores >= last).sum(dim=1) > width).nonzero()[:, 0]
        if len(tied):
            items[tied] = _first_among_equals(scores[tied], last[tied], width)
    items = items.sort(dim=1).values
    values, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    items = items.gather(1, order).masked_fill(values == MASKED, UNKNOWN)
    best = Ranked(
        items=np.full((rows, k), UNKNOWN, dtype=np.int64),
        scores=np.full((rows, k), -np.inf, dtype=np.float32),
    )
    best.items[:, :width] = items.cpu().numpy()
    best.scores[:, :width] = values.float().cpu().numpy()
    return best


def _first_among_equals(scores: Tensor, last: Tensor, width: int) -> Tensor:
    above = scores > last
    equal = scores == last
    wanted = width - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= wanted))
    return chosen.nonzero()[:, 1].view(len(scores), width)


def _without(scores: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """A copy of `scores` that is -inf at the pairs of `rows` and `items`."""
    where = (rows.to(scores.device), items.to(device=scores.device, dtype=torch.int64))
    return scores.index_put(where, scores.new_tensor(MASKED))


def _without_seen(scores: Tensor, contexts: Contexts) -> Tensor:
    return _without(scores, torch.from_numpy(contexts.rows), torch.from_numpy(contexts.items))


def _only(scores: Tensor, candidates: Candidates, start: int, stop: int) -> Tensor:
    offsets = candidates.offsets[start : stop + 1]
    rows = np.repeat(np.arange(stop - start), np.diff(offsets))
    items = candidates.items[offsets[0] : offsets[-1]]
    allowed = torch.zeros_like(scores, dtype=torch.bool)
    allowed[torch.from_numpy(rows).to(scores.device), torch.from_numpy(items).to(scores.device)] = True
    return scores.masked_fill(~allowed, MASKED)


def _answer(raw: Tensor, scores: Tensor, examples: Examples, *, start: int, stop: int, k: int) -> RankedBatch:
    offsets = examples.offsets[start : stop + 1]
    targets = examples.targets[offsets[0] : offsets[-1]]
    rows = np.repeat(np.arange(stop - start), np.diff(offsets))
    known = np.flatnonzero(targets != UNKNOWN)
    ranks = np.full(len(targets), UNRANKED, dtype=np.int64)
    target_scores = np.full(len(targets), np.nan, dtype=np.float32)
    where = (
        torch.from_numpy(rows[known]).to(scores.device),
        torch.from_numpy(targets[known]).to(scores.device),
    )
    target_scores[known] = raw[where].float().cpu().numpy()
    ranks[known] = _ranks(scores, *where).cpu().numpy()
    return RankedBatch(
        start=start,
        stop=stop,
        top=select(scores, k),
        ranks=ranks,
        target_scores=target_scores,
        n_candidates=(scores != MASKED).sum(dim=1).cpu().numpy(),
    )


def _all_finite(scores: Tensor) -> bool:
    """Whether no score is infinite or NaN, which both bounds of scores with a NaN are; in one pass, with no copy."""
    return not scores.numel() or all(math.isfinite(bound.item()) for bound in scores.aminmax())


def _ranks(scores: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """How many columns of its row stand before each of `items`, (T,); `UNRANKED` where the item is masked."""
    ranks = torch.empty(len(rows), dtype=torch.int64, device=scores.device)
    columns = torch.arange(scores.shape[1], device=scores.device)
    step = max(1, len(scores))
    one_each = torch.equal(rows, torch.arange(len(scores), device=scores.device))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        row = scores if one_each else scores[rows[part]]
        own = scores[rows[part], items[part]][:, None]
        before = (row > own) | ((row == own) & (columns < items[part, None]))
        ranks[part] = before.sum(dim=1).masked_fill(own[:, 0] == MASKED, UNRANKED)
    return ranks
