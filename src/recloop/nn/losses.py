"""Losses of next-item prediction over a whole catalogue, in bounded memory.

Shapes: N predictions, I items, D dimensions, S sampled items.
"""

import math
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

MAX_LOGITS = 1 << 23


def softmax_loss(hidden: Tensor, items: Tensor, targets: Tensor, max_logits: int = MAX_LOGITS) -> Tensor:
    """Mean cross-entropy of the softmax over all items: ``mean_n(logsumexp_i(h_n . e_i) - h_n . e_t(n))``.

    Gradients are computed along with the loss, a chunk of predictions at a time, so that at most `max_logits` logits
    exist at once (or one prediction's) instead of N x I.

    Args:
        hidden: (N, D), N > 0.
        items: (I, D).
        targets: int64 (N,), which item came next.
        max_logits: see above.
    """
    return _ChunkedSoftmax.apply(hidden, items, targets, max(1, max_logits // len(items)))  # pyright: ignore[reportReturnType]


def sampled_softmax_loss(hidden: Tensor, items: Tensor, targets: Tensor, sampled: Tensor) -> Tensor:
    """`softmax_loss`, estimated from the target and S uniformly drawn items that all predictions share.

    Each draw hits an item with probability ``1 / I``, so ``log(I / S)`` is added to its logit, which makes the
    estimated denominator of the softmax right on average. A draw that equals the target is left out there, as the
    target has its own term.

    Args:
        hidden: (N, D), N > 0.
        items: (I, D).
        targets: int64 (N,).
        sampled: int64 (S,).
    """
    positive = (hidden * items[targets]).sum(dim=1, keepdim=True)
    negative = (hidden @ items[sampled].T).float() + math.log(len(items) / len(sampled))
    negative = negative.masked_fill(sampled == targets[:, None], -torch.inf)
    logits = torch.cat([positive.float(), negative], dim=1)
    return (logits.logsumexp(dim=1) - logits[:, 0]).mean()


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, hidden: Tensor, items: Tensor, targets: Tensor, chunk: int) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        to_hidden = torch.empty_like(hidden)
        to_items = torch.zeros_like(items)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            slope = torch.log_softmax((hidden[part] @ items.T).float(), dim=1)
            wanted = targets[part, None]
            total -= slope.gather(1, wanted).sum()
            slope = slope.exp_().scatter_add_(1, wanted, slope.new_full(wanted.shape, -1.0)).to(hidden.dtype)
            to_hidden[part] = slope @ items
            to_items += slope.T @ hidden[part]
        ctx.save_for_backward(to_hidden, to_items)
        return total / len(hidden)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_items = ctx.saved_tensors
        scale = grad_outputs[0] / len(to_hidden)
        return to_hidden * scale, to_items * scale, None, None
