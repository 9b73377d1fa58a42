"""Ridge regressions of many rows of a sparse matrix at once: the closed-form half of alternating least squares.

Shapes: R rows of a chunk, L entries of its longest row, D dimensions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

CHUNK = 1 << 14


class UnsolvableError(ValueError):
    """A system of equations is not positive definite."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Rows of similar length, padded to the longest.

    Attributes:
        rows: int64 (R,), which rows of the matrix these are.
        columns: int64 (R, L), their entries; the number of columns stands for padding.
        values: float32 (R, L), of the entries, 0 where padded.
        lengths: float32 (R,), entries a row.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    lengths: Tensor


def chunks(matrix: sparse.csr_matrix, device: torch.device, size: int | None = None) -> Iterator[Chunk]:
    """The rows of `matrix` that have entries, in order of length, so that little of a chunk is padding.

    Args:
        matrix: any number of rows and columns.
        device: of the chunks.
        size: most entries of a chunk, padding included, where it holds more than one row; `CHUNK` by default.
    """
    size = CHUNK if size is None else size
    _, n_columns = cast("tuple[int, int]", matrix.shape)
    starts = np.asarray(matrix.indptr, dtype=np.int64)
    lengths = np.diff(starts)
    order = np.argsort(lengths, kind="stable")
    first = int((lengths == 0).sum())
    while first < len(order):
        sizes = lengths[order[first : first + size]]
        sizes = sizes * np.arange(1, len(sizes) + 1)
        stop = first + max(1, int(np.searchsorted(sizes, size, side="right")))
        rows = order[first:stop]
        positions = np.arange(int(lengths[rows[-1]]))
        inside = positions < lengths[rows, None]
        entries = (starts[rows, None] + positions)[inside]
        columns = np.full(inside.shape, n_columns, dtype=np.int64)
        columns[inside] = matrix.indices[entries]
        values = np.zeros(inside.shape, dtype=np.float32)
        values[inside] = matrix.data[entries]
        yield Chunk(
            rows=torch.from_numpy(rows).to(device),
            columns=torch.from_numpy(columns).to(device),
            values=torch.from_numpy(values).to(device),
            lengths=torch.from_numpy(lengths[rows].astype(np.float32)).to(device),
        )
        first = stop


def solve(systems: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``z`` with ``systems @ z = targets``, (R, D); and ``z . targets``, (R,).

    Args:
        systems: (R, D, D), symmetric and positive definite.
        targets: (R, D).

    Raises:
        UnsolvableError: a system is not positive definite in this precision.
    """
    factor, failed = torch.linalg.cholesky_ex(systems)
    if failed.any():
        raise UnsolvableError("A system of equations is not positive definite.")
    halfway = torch.linalg.solve_triangular(factor, targets[:, :, None], upper=False)
    solved = torch.linalg.solve_triangular(factor.mT, halfway, upper=True)[:, :, 0]
    return solved, halfway.square().sum(dim=(1, 2))


def conjugate_gradients(
    start: Tensor,
    residual: Tensor,
    multiply: Callable[[Tensor], Tensor],
    curvature: Callable[[Tensor], Tensor],
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Solutions ``z`` of ``A_r z_r = b_r`` for all rows r at once, bettered from `start`.

    Args:
        start: (R, D), where to begin.
        residual: ``b_r - A_r start_r``, (R, D).
        multiply: gives ``A_r v_r`` for the rows of ``v`` (R, D); each ``A_r`` is symmetric and positive definite.
        curvature: gives ``v_r . A_r v_r``, (R, 1), which may be cheaper than `multiply`; the last step needs no more.
        steps: at least 1; D are exact but for rounding.

    Returns:
        ``z`` (R, D); and (R,) by how much the steps raised ``2 z_r . b_r - z_r . A_r z_r``, which ``z`` maximises.
    """
    direction = residual
    size = residual.square().sum(dim=1, keepdim=True)
    tiny = torch.finfo(size.dtype).tiny
    gained = torch.zeros_like(size)
    solved = start
    for step in range(steps):
        last = step == steps - 1
        image = None if last else multiply(direction)
        steepness = curvature(direction) if image is None else (direction * image).sum(dim=1, keepdim=True)
        length = size / steepness.clamp(min=tiny)
        solved = torch.addcmul(solved, length, direction)
        gained += length * size
        if image is not None:
            residual = torch.addcmul(residual, length, image, value=-1)
            size, before = residual.square().sum(dim=1, keepdim=True), size
            direction = torch.addcmul(residual, size / before.clamp(min=tiny), direction)
    return solved, gained[:, 0]


def solve_near_diagonal(
    diagonal: Tensor, targets: Tensor, rest: Callable[[Tensor], Tensor], *, tolerance: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Solutions ``z`` of ``(diag(d_r) + S_r) z_r = b_r`` for all rows r at once, where ``S_r`` is of low rank.

    Conjugate gradients preconditioned by the diagonal, from zero. A row that has converged is left alone, so its
    solution does not depend on the others.

    Args:
        diagonal: ``d`` (R, D), positive.
        targets: ``b`` (R, D).
        rest: gives ``S_r v_r`` for the rows of ``v`` (R, D); each ``S_r`` is symmetric and positive semidefinite.
        tolerance: wanted length of the residual over that of the target, in the norm of ``diag(d)^-1``.
        steps: most of them.

    Returns:
        ``z`` (R, D), and which rows are solved, bool (R,), by a residual computed anew: after rounding it may be larger
        than what the steps saw, and ten times `tolerance` is allowed.
    """
    solved = torch.zeros_like(targets)
    residual, direction = targets, targets / diagonal
    size = (residual * direction).sum(dim=1, keepdim=True)
    wanted = size * tolerance**2
    tiny = torch.finfo(size.dtype).tiny
    for _ in range(steps):
        open_rows = size > wanted
        if not open_rows.any():
            break
        image = diagonal * direction + rest(direction)
        length = size / (direction * image).sum(dim=1, keepdim=True).clamp(min=tiny) * open_rows
        solved = torch.addcmul(solved, length, direction)
        residual = torch.addcmul(residual, length, image, value=-1)
        steepest = residual / diagonal
        size, before = (residual * steepest).sum(dim=1, keepdim=True), size
        direction = torch.addcmul(steepest, size / before.clamp(min=tiny), direction)
    left = targets - diagonal * solved - rest(solved)
    return solved, ((left * left / diagonal).sum(dim=1, keepdim=True) <= 100 * wanted)[:, 0]
