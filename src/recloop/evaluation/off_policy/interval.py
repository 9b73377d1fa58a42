"""The interval of a ratio of means, for values as skewed as clicks times weights are.

Shapes: N rows, G units (people, or rows where people are not known).
"""

# ruff: noqa: N803, N806 - names carry shapes

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

_EQUAL = 1e-12


class Mean(NamedTuple):
    """An estimate, the bounds of its interval, and its standard error."""

    value: float
    low: float
    high: float
    error: float


def ratio_of_means(numerators_N: Floats, denominators_N: Floats, units_N: NDArray[np.intp], *, level: float) -> Mean:
    """``V = sum_i a_i / sum_i b_i`` with an interval at `level` that treats units, not rows, as independent.

    Let A_g and B_g be the sums over the rows of unit g. By the delta method V is a mean over units of

        psi_g = V + (A_g - V B_g) / (sum_h B_h / G),

    with standard error ``s / sqrt(G)``, ``s^2 = sum_g (psi_g - V)^2 / (G - 1)``. With b = 1 this is the mean over
    rows, with b the weights it is the self-normalised mean. The interval corrects Student's for the skewness c of psi
    by the monotone cubic of Hall: with ``u = c / sqrt(G)`` and t the quantiles of Student's distribution with G - 1
    degrees of freedom, its bounds are ``V - s / sqrt(G) h(t)`` for t at (1 + level) / 2 and (1 - level) / 2, where

        h(t) = 3 / u ((1 + u (t - u / 6))^(1/3) - 1),  and h(t) = t for u = 0.

    Rare rewards with a few large weights have c far above 0: a symmetric interval would end too low.

    Hall, On the removal of skewness by transformation, JRSS B 1992.

    Edge cases: one unit says nothing of the spread, its interval is unbounded; units that all give the same have an
    interval without width.
    """
    numerators_G = np.bincount(units_N, weights=numerators_N)
    denominators_G = np.bincount(units_N, weights=denominators_N)
    count, total = len(numerators_G), float(denominators_G.sum())
    value = float(numerators_G.sum()) / total
    if count == 1:
        return Mean(value, -np.inf, np.inf, np.inf)
    influence_G = (numerators_G - value * denominators_G) / (total / count)
    spread = float(np.sqrt(np.square(influence_G).sum() / (count - 1)))
    if spread <= _EQUAL * float(np.abs(numerators_G).max()) * count / abs(total):
        return Mean(value, value, value, 0.0)
    error = spread / float(np.sqrt(count))
    skewness = float(np.mean(influence_G**3) / np.mean(influence_G**2) ** 1.5)
    quantile = float(stdtrit(count - 1, (1 + level) / 2))
    low, high = (value - error * _unskewed(t, skewness / float(np.sqrt(count))) for t in (quantile, -quantile))
    return Mean(value, low, high, error)


def _unskewed(t: float, u: float) -> float:
    """Hall's h; near u = 0, where it is a quotient of small numbers, by its series to the first order."""
    if abs(u) < 1e-6:
        return t - u / 6 - u * t * t / 3
    return float(3 / u * (np.cbrt(1 + u * (t - u / 6)) - 1))
