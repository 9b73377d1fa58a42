"""Scores of several models made comparable, and the weights with which they decide best.

Shapes: B contexts, I items, Q questions, C candidates of a question, M models.
"""

import torch
from torch import Tensor

_STEPS = 100


def standardised(scores: Tensor) -> Tensor:
    """Each row of `scores` (B, I) less its mean and over its deviation, float64; a row of equal scores becomes 0."""
    centred = scores.double() - scores.double().mean(dim=1, keepdim=True)
    deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(deviation > 1e-12, centred / deviation.clamp(min=1e-12), 0.0)


def reciprocal_ranks(scores: Tensor, constant: float) -> Tensor:
    """``1 / (constant + place)`` of each item of each row of `scores` (B, I), float64; places from 1, ties by index."""
    order = scores.sort(dim=1, descending=True, stable=True).indices
    places = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=torch.float64)
    return torch.empty(scores.shape, dtype=torch.float64, device=scores.device).scatter_(
        1, order, (1 / (constant + places)).expand(scores.shape)
    )


def conditional_logit(
    features: Tensor, allowed: Tensor, answers: Tensor, shares: Tensor, *, prior: Tensor, ridge: float
) -> Tensor:
    """The weights ``w`` (M,), float64, under which the answers are likeliest.

    Maximises ``sum_q s_q (w . f_qa - logsumexp_c(w . f_qc)) - ridge / 2 |w - prior|^2``, which has one maximum
    (McFadden, "Conditional logit analysis of qualitative choice behavior", 1974). Without questions it is the prior.

    Args:
        features: ``f``, float64 (Q, C, M).
        allowed: bool (Q, C), which candidates there are; the answer is one of them.
        answers: int64 (Q,), which candidate is right.
        shares: ``s``, float64 (Q,), how much each question counts.
        prior: float64 (M,).
        ridge: above 0.
    """
    weights = prior.clone().requires_grad_()
    if not len(answers):
        return prior
    optimiser = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        with torch.enable_grad():
            logits = (features @ weights).masked_fill(~allowed, -torch.inf)
            likely = logits.gather(1, answers[:, None])[:, 0] - logits.logsumexp(dim=1)
            value = ridge / 2 * (weights - prior).square().sum() - shares @ likely
            value.backward()
        return value

    optimiser.step(loss)  # pyright: ignore[reportArgumentType]
    return weights.detach()
