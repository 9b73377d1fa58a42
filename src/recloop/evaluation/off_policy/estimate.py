"""What an off-policy estimate is, how sure it is, and when it is refused.

Shapes: N rows of the log, U users.

**Interval.** An estimate is a mean of N influences ``psi``, or behaves like one. Rows of one user depend on each other,
so the variance of the mean is ``U / (U - 1) * sum_u (sum over rows of u of (psi - mean))^2 / N^2`` (Liang and Zeger,
1986), and the interval takes quantiles of Student's distribution whose degrees of freedom are the effective number of
users less one, after the size of their weights.

**Overlap.** With weights ``w = target's probability / log's propensity``: the effective sample size is
``(sum w)^2 / sum w^2`` (Kish); and the mean weight is 1 on average if the propensities are right and the log may do all
that the target does, so a mean far from 1 says that one of them is not so.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import stdtrit

from recloop.config import Config
from recloop.errors import DataError

Floats = NDArray[np.float64]


class OverlapError(DataError):
    """The log says too little about a policy to estimate its value."""


class OffPolicyConfig(Config):
    """When an estimate is given, and how.

    Attributes:
        level: of the intervals.
        clip: largest weight of `clipped_ips`.
        least_effective: smallest effective sample size.
        unsupported: largest share of the target's probability on what the log never does.
        weight_level: level of the interval of the mean weight, which must hold 1; `None` asks for nothing.
    """

    level: float = Field(default=0.95, gt=0, lt=1)
    clip: float = Field(default=10.0, gt=0)
    least_effective: float = Field(default=100.0, ge=1)
    unsupported: float = Field(default=0.01, ge=0, lt=1)
    weight_level: float | None = Field(default=0.999, gt=0, lt=1)


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """How far the log overlaps with the target.

    Attributes:
        rows: N.
        effective: effective sample size of the weights.
        largest: largest weight.
        mean: mean weight, 1 on average.
        mean_interval: its interval.
        unsupported: mean share of the target's probability on what the log never does.
        clipped: share of the summed weights that clipping took off; 0 without it.
    """

    rows: int
    effective: float
    largest: float
    mean: float
    mean_interval: tuple[float, float]
    unsupported: float
    clipped: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A policy's mean reward a row.

    Attributes:
        estimator: its name.
        value: the estimate.
        interval: its bounds at `level`.
        level: of the interval.
        diagnostics: of the weights.
    """

    estimator: str
    value: float
    interval: tuple[float, float]
    level: float
    diagnostics: Diagnostics


def diagnose(weights: Floats, users: NDArray[np.int64], unsupported: float, config: OffPolicyConfig) -> Diagnostics:
    """What the weights (N,) look like.

    Raises:
        OverlapError: a floor of `config` is not kept.
    """
    square = float(weights @ weights)
    effective = float(weights.sum()) ** 2 / square if square else 0.0
    level = config.weight_level or config.level
    found = Diagnostics(
        rows=len(weights),
        effective=effective,
        largest=float(weights.max(initial=0.0)),
        mean=float(weights.mean()),
        mean_interval=interval(weights, users, weights, level),
        unsupported=unsupported,
    )
    if unsupported > config.unsupported:
        raise OverlapError(
            f"The policy cannot be judged: {unsupported:.1%} of its choices are ones that the log never makes, above "
            f"{config.unsupported:.1%}; log with more exploration, or judge a policy nearer to the log's."
        )
    if effective < config.least_effective:
        raise OverlapError(
            f"The policy cannot be judged: {len(weights):,} rows of the log count like {effective:,.0f}, below "
            f"{config.least_effective:,.0f}; collect more, or judge a policy nearer to the log's."
        )
    low, high = found.mean_interval
    if config.weight_level is not None and not low <= 1 <= high:
        raise OverlapError(
            f"The policy cannot be judged: its weights are {found.mean:.3f} on average, and the "
            f"{config.weight_level:.1%} interval, {low:.3f} to {high:.3f}, does not hold 1; correct the propensities "
            "or the policy's probabilities."
        )
    return found


def interval(influences: Floats, users: NDArray[np.int64], weights: Floats, level: float) -> tuple[float, float]:
    """The interval of the mean of `influences` (N,); see the module's docstring.

    Args:
        influences: what the estimate is the mean of.
        users: int64 (N,), whose row it is, from 0 to U - 1.
        weights: (N,), at least 0, that say how many users there are in effect.
        level: between 0 and 1.

    Returns:
        From minus to plus infinity where there are fewer than two users in effect.
    """
    mean = float(influences.mean())
    sums = np.bincount(users, weights=influences - mean)
    count = len(sums)
    shares = np.bincount(users, weights=weights, minlength=count)
    square = float(shares @ shares)
    effective = float(shares.sum()) ** 2 / square if square else 0.0
    if count < 2 or effective <= 1:
        return -np.inf, np.inf
    deviation = float(np.sqrt(count / (count - 1) * (sums @ sums))) / len(influences)
    reach = float(stdtrit(effective - 1, (1 + level) / 2)) * deviation
    return mean - reach, mean + reach
