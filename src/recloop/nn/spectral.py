"""Leading eigenvectors of a symmetric matrix by block power iteration.

Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011.
Shapes: I rows and columns of the matrix, K eigenvectors.
"""

import torch
from torch import Tensor

_ROUNDS, _SMALLEST = 12, 1e-6


def leading_eigenvectors(matrix: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Orthonormal eigenvectors of the `count` largest eigenvalues, (I, K), largest first.

    Args:
        matrix: (I, I), symmetric and without negative eigenvalues.
        count: most to find; fewer come back where I is smaller, or where eigenvalues are 0 but for rounding.
        generator: of the CPU; draws where the iteration begins, the same on every device.

    Half as many again are iterated over, so that the last of those asked for converge too. All are exact where that
    makes up the whole matrix; elsewhere vectors of nearly equal eigenvalues may be mixed.
    """
    width = min(len(matrix), count + count // 2 + 8)
    basis = torch.randn(len(matrix), width, generator=generator).to(matrix)
    basis = torch.linalg.qr(basis).Q
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(matrix @ basis).Q
    values, vectors = torch.linalg.eigh(basis.T @ (matrix @ basis))
    kept = values.flip(0)[:count] > _SMALLEST * values[-1].clamp(min=0)
    return (basis @ vectors.flip(1)[:, :count])[:, kept]
