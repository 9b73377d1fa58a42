"""How far two distributions are apart, and how far they would be by chance.

Shapes: K bins, U users, N observations.

**Distance.** With p and q (K,) the shares of the bins in the two windows and m = (p + q) / 2, the Jensen-Shannon
distance is ``sqrt((sum p ln(p/m) + sum q ln(q/m)) / 2)``, from 0 to sqrt(ln 2) = 0.83; empty bins are no problem to
it.

**Chance.** Observations of one person depend on each other, so tests that count observations see drift everywhere.
Here people are the units: with c_u, n_u the counts and their sum for user u in a window with N observations, the
user's influence on q - p is ``psi_u = (c_u - n_u q) / N`` of the current window minus the same of the reference,
which also takes account of people who occur in both. The covariance of q - p is estimated by ``S = sum psi_u
psi_u'``. Near p = q the squared distance is ``sum (q - p)^2 / (8 m)``, which without drift is distributed as a sum of
chi-squares weighted by the eigenvalues of ``A = diag(8 m)^-1/2 S diag(8 m)^-1/2``. The sum is replaced by one scaled
chi-square of the same mean and variance (the second-order correction of Rao and Scott, "On chi-squared tests for
multiway contingency tables with cell proportions estimated from survey data", Annals of Statistics, 1984), and that
by an F distribution whose second degrees of freedom are the effective number of people, less one, of the window that
has fewer: a few very active people widen it. Nothing is drawn at random.

**Threshold.** ``sqrt(tolerance^2 + quantile)``: a difference must exceed chance by more than what is tolerated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.spatial.distance import jensenshannon

from recloop.drift.windows import CODE, WINDOW

LARGEST = float(np.sqrt(np.log(2)))
"""The largest possible Jensen-Shannon distance."""

FEWEST = 5
"""Effective people below which nothing is said."""

BIN = "bin"


@dataclass(frozen=True, kw_only=True)
class Shares:
    """A distribution over the bins `labels` in each window, for display; `reference` and `current` each sum to 1."""

    labels: list[str]
    reference: NDArray[np.float64]
    current: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A number for each day or person of each window, for display; their means are compared."""

    reference: NDArray[np.float64]
    current: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One thing that can drift, compared between two windows.

    Attributes:
        column: the column or quantity that it is about.
        statistic: what `value` is: ``jensenshannon`` (a distance), ``log_ratio`` (of two means, without its sign), or
            ``loss`` (the share of a mean that was lost).
        value: how far the windows are apart, at least 0.
        threshold: the largest `value` that is no drift, given the probability of a false alarm.
        n_reference: observations in the reference.
        n_current: observations in the current window.
        shown: what a report shows of it.
    """

    column: str
    statistic: str
    value: float
    threshold: Callable[[float], float]
    n_reference: int
    n_current: int
    shown: Shares | Numbers


def compare(
    observations: pl.DataFrame,
    labels: Sequence[str],
    *,
    column: str,
    tolerance: float,
    growing: int | None = None,
) -> Comparison | None:
    """Compare the distribution of `BIN` between the two windows.

    Args:
        observations: N rows with `WINDOW`, `CODE` and `BIN`, an integer below K.
        labels: names of the K bins.
        column: what the bins are of.
        tolerance: the Jensen-Shannon distance that would not matter even if it were certain.
        growing: the bin whose growth alone is drift; any bin's change is if `None`.

    Returns:
        `None` where there is nothing to compare: a single bin, or too few people in a window.
    """
    if observations.is_empty():
        return None
    n_users, n_bins = int(observations[CODE].max() or 0) + 1, len(labels)  # pyright: ignore[reportArgumentType]
    counts = [_counts(observations.filter(pl.col(WINDOW) == window), n_users, n_bins) for window in (0, 1)]
    totals = [matrix.sum() for matrix in counts]
    people = min((_effective(matrix) for matrix in counts), default=0)
    if people < FEWEST:
        return None
    shares = [np.asarray(matrix.sum(axis=0)).ravel() / total for matrix, total in zip(counts, totals, strict=True)]
    if np.count_nonzero(shares[0] + shares[1]) < 2:
        return None
    scale, degrees = _spread(counts, shares)
    harmless = growing is not None and shares[1][growing] <= shares[0][growing]

    def threshold(alarm: float) -> float:
        if harmless:
            return LARGEST
        quantile = scale * degrees * stats.f.ppf(1 - alarm, degrees, people - 1) if scale else 0.0
        return float(min(np.sqrt(tolerance**2 + quantile), LARGEST))

    return Comparison(
        column=column,
        statistic="jensenshannon",
        value=float(jensenshannon(shares[0], shares[1])),
        threshold=threshold,
        n_reference=int(totals[0]),
        n_current=int(totals[1]),
        shown=Shares(labels=list(labels), reference=shares[0], current=shares[1]),
    )


def _counts(observations: pl.DataFrame, n_users: int, n_bins: int) -> sparse.csr_matrix:
    """Counts of each user in each bin, float64 (U, K)."""
    where = (observations[CODE].to_numpy(), observations[BIN].to_numpy())
    return sparse.csr_matrix((np.ones(observations.height), where), shape=(n_users, n_bins))


def _effective(counts: sparse.csr_matrix) -> float:
    """The number of equally active people whose mean would vary as much: (sum n_u)^2 / sum n_u^2 (Kish)."""
    active = np.asarray(counts.sum(axis=1)).ravel()
    return float(active.sum() ** 2 / (active @ active)) if active.any() else 0.0


def _spread(counts: list[sparse.csr_matrix], shares: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Scale and degrees of freedom of the squared distance without drift: tr(A^2) / tr(A) and tr(A)^2 / tr(A^2).

    The influences are ``psi = M + F G`` with M (U, K) sparse, F (U, 2) and G (2, K): no full (U, K) matrix is needed.
    """
    reference, current = (matrix / matrix.sum() for matrix in counts)
    sparse_part = sparse.csr_matrix(current - reference)
    factors = np.stack([np.asarray(part.sum(axis=1)).ravel() for part in (current, reference)], axis=1)
    directions = np.stack([-shares[1], shares[0]])
    cross = np.asarray(sparse_part.T @ factors) @ directions
    covariance = (sparse_part.T @ sparse_part).toarray() + cross + cross.T
    covariance += directions.T @ (factors.T @ factors) @ directions
    weight = 1 / np.sqrt(8 * np.maximum((shares[0] + shares[1]) / 2, np.finfo(np.float64).tiny))
    weight[shares[0] + shares[1] == 0] = 0.0
    scaled = covariance * np.outer(weight, weight)
    mean, square = float(np.trace(scaled)), float(np.sum(scaled**2))
    if mean <= 0:
        return 0.0, 1.0
    return square / mean, mean**2 / square
