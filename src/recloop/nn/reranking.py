"""Two stages: one model finds candidates, another ranks them; what it does not rank keeps the first one's order.

Covington, Adams and Sargin, "Deep neural networks for YouTube recommendations", RecSys 2016.
Shapes: B contexts, I items, C candidates of a context, P pairs of context and candidate, N events of all B histories, T
contexts with an answer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Shortlist:
    """The first items in the order of the model that finds them.

    Attributes:
        order: int64 (B, I), all items, the best first; ties by index.
        inside: bool (B, I), which places are those of candidates: the first ones of each row.
    """

    order: Tensor
    inside: Tensor

    @classmethod
    def of(cls, scores: Tensor, counts: Tensor) -> "Shortlist":
        """The best `counts` int64 (B,), at least 1 and at most I, of `scores` (B, I)."""
        order = scores.sort(dim=1, descending=True, stable=True).indices
        places = torch.arange(scores.shape[1], device=scores.device)
        return cls(order=order, inside=places < counts.to(scores.device)[:, None])

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Contexts and candidates, row by row, both int64 (P,)."""
        return self.inside.nonzero()[:, 0], self.order[self.inside]

    def before(self, rows: Tensor, items: Tensor) -> Tensor:
        """How many items stand before each candidate, int64 (P,), but the pairs of `rows` and `items`, int64 (N,)."""
        counted = torch.ones_like(self.order)
        counted[rows, items] = 0
        counted = counted.gather(1, self.order)
        return (counted.cumsum(dim=1) - counted)[self.inside]

    def scores(self, logits: Tensor) -> Tensor:
        """(B, I): a candidate gets its own of `logits` float32 (P,); then each place is 1 less than the one before."""
        ranked = torch.full(self.order.shape, torch.inf, device=logits.device)
        ranked[self.inside] = logits
        lowest = ranked.amin(dim=1, keepdim=True)
        behind = (~self.inside).cumsum(dim=1)
        return torch.empty_like(ranked).scatter_(1, self.order, torch.where(self.inside, ranked, lowest - behind))


def best_unseen(scores: Tensor, rows: Tensor, items: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best `count` items of each of `scores` (B, I) but the pairs of `rows` and `items`, int64 (N,).

    Returns:
        Items int64 (B, count), the best first, and which of them are no such pair, bool (B, count).
    """
    scores = scores.clone()
    scores[rows, items] = -torch.inf
    best, chosen = scores.topk(count, dim=1)
    return chosen, best.isfinite()


def choice_loss(logits: Tensor, allowed: Tensor, right: Tensor) -> Tensor:
    """Mean cross-entropy of the T right ones under a softmax over the candidates that are `allowed`; 0 if T is 0.

    Args:
        logits: (B, C).
        allowed: bool (B, C), which candidates there are.
        right: bool (B, C), the answers, allowed ones: at most one a row. Rows without one do not count.
    """
    found = right.any(dim=1)
    likely = logits[found].float().masked_fill(~allowed[found], -torch.inf).log_softmax(dim=1)
    return -likely[right[found]].sum() / max(1, len(likely))
