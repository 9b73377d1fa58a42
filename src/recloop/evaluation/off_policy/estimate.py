"""One estimate with its overlap, or a refusal: the floors that all estimators share.

Shapes: N rows, K positions (1 where an action is one item), G units (people, or rows where people are not known).
"""

# ruff: noqa: N803, N806 - names carry shapes

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recloop.config import Config
from recloop.errors import DataError
from recloop.evaluation.off_policy.interval import Floats, Mean, ratio_of_means

_ROUNDING = 1e-9


class OffPolicyConfig(Config):
    """How sure an estimate must be to be given at all.

    Attributes:
        level: level of the interval.
        clip: the bound on weights of `clipped_ips`; the other estimators never clip.
        min_effective: the least effective sample size in units; at 100 no unit holds more than a tenth of the weight.
        max_unseen: the largest share of the target's probability that an estimate may leave out: what the log cannot
            show plus what is clipped.
        trust_level: an estimate is refused if the interval of the mean weight at this level excludes 1, since then the
            propensities are wrong or the log cannot show all that the target shows. Right ones are refused in a share
            of 1 - `trust_level`.
    """

    level: float = Field(default=0.95, gt=0, lt=1)
    clip: float = Field(default=10.0, ge=1)
    min_effective: float = Field(default=100.0, ge=2)
    max_unseen: float = Field(default=0.05, ge=0, lt=1)
    trust_level: float = Field(default=0.999, gt=0, lt=1)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How much of what the target policy does the log has seen.

    Where each position has weights of its own, each attribute is that of the position where it is worst.

    Attributes:
        rows: N.
        units: G, clusters where there are any, otherwise rows.
        effective: Kish's effective sample size ``(sum_g w_g)^2 / sum_g w_g^2``, w_g the sum of the weights of unit g,
            clipped where the estimator clips: as many units of equal weight would tell as much. 0 if all weights are 0.
        largest_weight: of a row, before clipping.
        mean_weight: mean over rows, before clipping, of the weight plus the missing probability, which is 1 for right
            propensities; with its interval at `OffPolicyConfig.trust_level`, widened for the number of positions
            (Bonferroni).
        missing: mean share of the target's probability on actions that the log cannot show; `None` where not known.
        clipped: share of the target's probability that clipping takes away, as a share of the sum of weights (plus
            missing probability); 0 where nothing is clipped. For rewards from 0 to R the estimate is low by at most
            about R times this.
    """

    rows: int
    units: int
    effective: float
    largest_weight: float
    mean_weight: Mean
    missing: float | None
    clipped: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The value of the target policy: the mean reward of a row, or of a slate, had it been shown instead.

    Attributes:
        method: the estimator.
        value: the estimate.
        low: lower bound of its interval, see `interval.ratio_of_means`.
        high: upper bound.
        error: standard error.
        level: level of the interval.
        overlap: see `Overlap`.
    """

    method: str
    value: float
    low: float
    high: float
    error: float
    level: float
    overlap: Overlap


class RefusedError(DataError):
    """An estimate that would not be worth its name.

    Attributes:
        floor: the field of `OffPolicyConfig` that is not met; ``level`` if no interval can be had.
        overlap: what was found.
    """

    def __init__(self, sentence: str, *, floor: str, overlap: Overlap) -> None:
        super().__init__(sentence)
        self.floor = floor
        self.overlap = overlap


def estimate(
    method: str,
    numerators_N: Floats,
    denominators_N: Floats,
    weights_NK: Floats,
    *,
    units_N: NDArray[np.intp],
    missing_NK: Floats | None,
    config: OffPolicyConfig,
    clip: float = np.inf,
) -> Estimate:
    """``sum(numerators) / sum(denominators)`` with its interval, if the weights behind it meet the floors.

    Raises:
        RefusedError: a floor is not met.
    """
    overlap = _overlap(weights_NK, units_N, missing_NK, config, clip)
    _judge(method, overlap, config)
    value, low, high, error = ratio_of_means(numerators_N, denominators_N, units_N, level=config.level)
    if error == 0:
        raise RefusedError(
            f"Every row of the {method} estimate gives the same, {value:.4g}, and an interval needs rows that "
            "differ; log until there are rewards of more than one size.",
            floor="level",
            overlap=overlap,
        )
    return Estimate(method=method, value=value, low=low, high=high, error=error, level=config.level, overlap=overlap)


def _overlap(
    weights_NK: Floats, units_N: NDArray[np.intp], missing_NK: Floats | None, config: OffPolicyConfig, clip: float
) -> Overlap:
    lost_NK = np.zeros_like(weights_NK) if missing_NK is None else missing_NK
    rows, positions = weights_NK.shape
    ones_N, level = np.ones(rows), 1 - (1 - config.trust_level) / positions
    means = [ratio_of_means(column, ones_N, units_N, level=level) for column in (weights_NK + lost_NK).T]
    used_NK = np.minimum(weights_NK, clip)
    return Overlap(
        rows=rows,
        units=int(units_N.max()) + 1,
        effective=min(_effective(np.bincount(units_N, weights=column)) for column in used_NK.T),
        largest_weight=float(weights_NK.max()),
        mean_weight=max(means, key=_distance),
        missing=None if missing_NK is None else float(missing_NK.mean(axis=0).max()),
        clipped=max(map(_share, (weights_NK - used_NK).T, (weights_NK + lost_NK).T)),
    )


def _effective(weights_G: NDArray[np.number]) -> float:
    squares = float(np.square(weights_G).sum())
    return float(weights_G.sum()) ** 2 / squares if squares else 0.0


def _share(part_N: Floats, whole_N: Floats) -> float:
    return float(part_N.sum() / whole_N.sum()) if part_N.any() else 0.0


def _distance(mean: Mean) -> float:
    """How many standard errors a mean weight is away from 1."""
    away = abs(mean.value - 1)
    return 0.0 if away <= _ROUNDING else away / mean.error if mean.error else np.inf


def _judge(method: str, overlap: Overlap, config: OffPolicyConfig) -> None:
    if overlap.effective < config.min_effective:
        raise RefusedError(
            f"The {method} estimate has an effective sample size of {overlap.effective:.1f} ({overlap.units} units, "
            f"largest weight {overlap.largest_weight:.4g}), below min_effective = {config.min_effective:g}; log more "
            "requests, explore more, or judge a policy nearer to the one that logged.",
            floor="min_effective",
            overlap=overlap,
        )
    missing = overlap.missing or 0.0
    if missing + overlap.clipped > config.max_unseen:
        raise RefusedError(
            f"The {method} estimate leaves out {missing + overlap.clipped:.4f} of the target's probability "
            f"({missing:.4f} that the log cannot show, {overlap.clipped:.4f} clipped), above max_unseen = "
            f"{config.max_unseen:g}; let the logging policy explore those actions, or clip higher.",
            floor="max_unseen",
            overlap=overlap,
        )
    value, low, high, _ = overlap.mean_weight
    if not low - _ROUNDING <= 1 <= high + _ROUNDING:
        raise RefusedError(
            f"The weights of the {method} estimate have mean {value:.4f} (interval {low:.4f} to {high:.4f}), and at "
            f"trust_level = {config.trust_level:g} it must be 1; check that propensities and targets are those of "
            "the shown actions at their requests, and that the log can show all that the target shows.",
            floor="trust_level",
            overlap=overlap,
        )
