"""Non-negative least squares of many rows at once, exactly: the closed-form half of a factorisation without minuses.

Block principal pivoting: Kim and Park, "Fast nonnegative matrix factorization: an active-set-like method and
comparisons", SIAM Journal on Scientific Computing 2011. Unlike theirs it begins with the parts that accelerated
projected gradients leave positive (Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear
inverse problems", SIAM Journal on Imaging Sciences 2009): a few products of matrices, after which most sets are right.
Shapes: R rows, D dimensions, P positive parts of the row that has most.
"""

import torch
from torch import Tensor

_RIDGE = 1e-12
_STEPS = 30
_TRIES = 3
_PIVOTS = 200
_MEMORY = 1 << 22


def solve(systems: Tensor, targets: Tensor) -> Tensor:
    """``argmin z . A z - 2 b . z`` over ``z >= 0``, (R, D), each row being exact but for rounding.

    Args:
        systems: ``A``, (R, D, D), or (D, D) for all rows; float64, symmetric and positive definite. So that one that is
            singular in this precision has a solution as well, each diagonal is made larger by the factor 1 + 1e-12.
        targets: ``b``, (R, D), float64.
    """
    scales = systems.diagonal(dim1=-2, dim2=-1).rsqrt()
    systems = systems * scales[..., :, None] * scales[..., None, :]
    systems.diagonal(dim1=-2, dim2=-1).add_(_RIDGE)
    solved = torch.zeros_like(targets)
    targets = targets * scales
    for rows in torch.arange(len(targets), device=targets.device).split(max(1, _MEMORY // targets.shape[1] ** 2)):
        if len(rows):
            some = systems[rows] if systems.ndim == 3 else systems
            solved[rows] = _pivot(some, targets[rows], _approach(some, targets[rows]) > 0)
    return solved * scales


def _approach(systems: Tensor, targets: Tensor) -> Tensor:
    """Something near the solution, (R, D)."""
    step = 1 / systems.abs().sum(dim=-1).amax(dim=-1, keepdim=True)  # no eigenvalue exceeds a sum of sizes in a row
    solved = point = targets.clamp(min=0) * step
    pace = 1.0
    for _ in range(_STEPS):
        nearer = (point - step * (_images(systems, point) - targets)).clamp_(min=0)
        pace, before = (1 + (1 + 4 * pace**2) ** 0.5) / 2, pace
        point = torch.lerp(solved, nearer, 1 + (before - 1) / pace)
        solved = nearer
    return solved


def _pivot(systems: Tensor, targets: Tensor, positive: Tensor) -> Tensor:
    """The solution, (R, D), from a guess which of its parts are `positive`, (R, D).

    A row is solved for these parts alone, the others being 0. While parts are found negative, or 0 where the gradient
    asks for more, they change sides: all at once, or, where that has not made them fewer for three turns, only the last
    of them, which ends after finitely many turns (Murty).
    """
    dim = targets.shape[1]
    found = torch.zeros_like(targets)
    slack = 1e-12 * targets.abs().amax(dim=1, keepdim=True)
    rows = torch.arange(len(targets), device=targets.device)
    fewest = torch.full_like(rows, dim + 1)
    tries = torch.zeros_like(rows)
    for _ in range(_PIVOTS):
        solved = _restricted(systems, targets, positive)
        gradients = _images(systems, solved) - targets
        wrong = torch.where(positive, solved < 0, gradients < -slack)
        found[rows] = solved.clamp(min=0)
        counts = wrong.sum(dim=1)
        left = counts.nonzero()[:, 0]
        if not len(left):
            break
        fewer = counts < fewest
        tries = torch.where(fewer, _TRIES, tries - 1)
        fewest = torch.minimum(counts, fewest)
        last = wrong & (wrong.flip(1).cumsum(dim=1).flip(1) == 1)
        positive = positive ^ torch.where((tries >= 0)[:, None], wrong, last)
        if len(left) < len(rows):
            rows, positive, targets, slack = rows[left], positive[left], targets[left], slack[left]
            fewest, tries = fewest[left], tries[left]
            systems = systems[left] if systems.ndim == 3 else systems
    return found


def _restricted(systems: Tensor, targets: Tensor, positive: Tensor) -> Tensor:
    """``z`` with ``(A z - b)_d = 0`` for the `positive` parts d, and 0 elsewhere, (R, D)."""
    most = int(positive.sum(dim=1).amax())
    kept, parts = positive.to(torch.uint8).sort(dim=1, descending=True, stable=True)
    kept, parts = kept[:, :most].to(targets.dtype), parts[:, :most]
    rows = torch.arange(len(targets), device=targets.device)[:, None, None]
    some = systems.expand(len(targets), -1, -1)[rows, parts[:, :, None], parts[:, None, :]]
    some *= kept[:, :, None] * kept[:, None, :]
    some.diagonal(dim1=1, dim2=2).add_(1 - kept)
    factor, _ = torch.linalg.cholesky_ex(some)
    solved = torch.cholesky_solve(targets.gather(1, parts)[:, :, None], factor)[:, :, 0]
    return torch.zeros_like(targets).scatter_(1, parts, solved * kept)


def _images(systems: Tensor, vectors: Tensor) -> Tensor:
    """``A z`` for each row, (R, D)."""
    return vectors @ systems if systems.ndim == 2 else (vectors[:, None, :] @ systems)[:, 0]
