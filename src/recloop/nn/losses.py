"""Losses of next-item prediction over a whole catalogue, in bounded memory.

Shapes: N predictions, I items, D dimensions, S sampled items.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

MAX_LOGITS = 1 << 23
_CACHED_LOGITS = 1 << 19
_EFFICIENT_ROWS = 128


def softmax_loss(hidden: Tensor, items: Tensor, targets: Tensor, max_logits: int = MAX_LOGITS) -> Tensor:
    """Mean cross-entropy of the softmax over all items: ``mean_n(logsumexp_i(h_n . e_i) - h_n . e_t(n))``.

    Gradients are computed along with the loss, a chunk of predictions at a time (see `rows_at_once`), so that N x I
    logits never exist. Under autocast the three products of a chunk are computed in the type of autocast and
    the gradients of the items are summed in the type of `items`.

    Args:
        hidden: (N, D), N > 0.
        items: (I, D).
        targets: int64 (N,), which item came next.
        max_logits: see above.
    """
    chunk = rows_at_once(len(items), max_logits)
    return _ChunkedSoftmax.apply(hidden, items, targets, chunk)  # pyright: ignore[reportReturnType]


def rows_at_once(n_items: int, max_logits: int) -> int:
    """How many rows of logits over `n_items` to compute at once: at most `max_logits` logits, or one row of them.

    Fewer, where a chunk that stays in the processor's cache is large enough to multiply fast.
    """
    return max(1, min(max_logits // n_items, max(_CACHED_LOGITS // n_items, _EFFICIENT_ROWS)))


def sampled_softmax_loss(
    hidden: Tensor, items: Tensor, targets: Tensor, sampled: Tensor, shares: Tensor | None = None
) -> Tensor:
    """`softmax_loss`, estimated from the target and S drawn items that all predictions share.

    A draw hits item i with probability ``q_i``, so ``-log(S q_i)`` is added to its logit (the logQ correction of Bengio
    and Senecal, "Adaptive importance sampling to accelerate training of a neural probabilistic language model", IEEE
    TNN 2008), which makes the estimated denominator of the softmax right on average. A draw that equals the target is
    left out there, as the target has its own term; that one is certain and needs no correction.

    Args:
        hidden: (N, D), N > 0.
        items: (I, D).
        targets: int64 (N,).
        sampled: int64 (S,), drawn with replacement.
        shares: (I,), q, positive for each drawn item; by default ``1 / I`` each.
    """
    drawn = -math.log(len(items)) if shares is None else shares[sampled].log()
    positive, negative = _sampled_logits(hidden, items, targets, sampled)
    logits = torch.cat([positive[:, None], negative - drawn - math.log(len(sampled))], dim=1)
    return (logits.logsumexp(dim=1) - positive).mean()


def gbce_loss(hidden: Tensor, items: Tensor, targets: Tensor, sampled: Tensor, calibration: float) -> Tensor:
    """Generalised binary cross-entropy: ``-mean_n(beta log s(h.e_t) + sum_j log(1 - s(h.e_j))) / (S + 1)``.

    ``s`` is the logistic function and ``beta = a (t (1 - 1/a) + 1/a)`` with the share ``a = S / (I - 1)`` of items that
    are sampled and the calibration t: 0 is plain binary cross-entropy, which rates negatives as too unlikely when few
    are drawn; 1 undoes that fully. Petrov and Macdonald, "gSASRec: reducing overconfidence in sequential recommendation
    trained with negative sampling", RecSys 2023. There each prediction has draws of its own; here all share S draws.
    A draw that equals the target counts nothing.

    Args:
        hidden: (N, D), N > 0.
        items: (I, D).
        targets: int64 (N,).
        sampled: int64 (S,), drawn uniformly.
        calibration: t, from 0 to 1.
    """
    share = min(1.0, len(sampled) / max(1, len(items) - 1))
    beta = calibration * (share - 1) + 1
    positive, negative = _sampled_logits(hidden, items, targets, sampled)
    return (beta * softplus(-positive) + softplus(negative).sum(dim=1)).mean() / (len(sampled) + 1)


def bce_loss(hidden: Tensor, items: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Binary cross-entropy of the target and one negative a prediction: ``-mean(log s(h.e_t) + log(1 - s(h.e_j)))``.

    Args:
        hidden: (N, D), N > 0.
        items: (I, D).
        targets: int64 (N,).
        negatives: int64 (N,).
    """
    positive, negative = ((hidden * items[index]).sum(dim=1).float() for index in (targets, negatives))
    return (softplus(-positive) + softplus(negative)).mean()


def _sampled_logits(hidden: Tensor, items: Tensor, targets: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the targets (N,), and of the draws (N, S), which are minus infinity where they equal the target."""
    positive = (hidden * items.index_select(0, targets)).sum(dim=1).float()
    negative = (hidden @ items.index_select(0, sampled).T).float()
    return positive, negative.masked_fill(sampled == targets[:, None], -torch.inf)


class _ChunkedSoftmax(torch.autograd.Function):
    """With ``x = exp(logits - max)`` and its row sums z, slopes are ``x / z`` minus 1 at the target.

    The division is left to the rows of what `x` is multiplied with, so a chunk of logits is passed over four times.
    """

    @staticmethod
    @override
    def forward(ctx: Any, hidden: Tensor, items: Tensor, targets: Tensor, chunk: int) -> Tensor:
        device = hidden.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        factors, catalogue = hidden.to(kind), items.to(kind)
        total = torch.zeros((), device=hidden.device)
        to_hidden = torch.empty_like(hidden)
        to_items = torch.zeros_like(items)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), chunk):
                part = slice(start, start + chunk)
                wanted = targets[part, None]
                logits = (factors[part] @ catalogue.T).to(torch.promote_types(kind, torch.float32))
                largest = logits.amax(dim=1, keepdim=True)
                total -= (logits.gather(1, wanted) - largest).sum()
                slope = logits.sub_(largest).exp_()
                sums = slope.sum(dim=1, keepdim=True)
                total += sums.log().sum()
                slope = slope.scatter_add_(1, wanted, -sums).to(kind)
                to_hidden[part] = (slope @ catalogue) / sums
                shares = (factors[part] / sums).to(kind)
                if kind == items.dtype:
                    to_items.addmm_(slope.T, shares)
                else:
                    to_items += slope.T @ shares
        ctx.save_for_backward(to_hidden, to_items)
        return total / len(hidden)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_items = ctx.saved_tensors
        scale = grad_outputs[0] / len(to_hidden)
        return to_hidden * scale, to_items * scale, None, None
