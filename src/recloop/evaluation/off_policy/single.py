"""Estimators of rewards of single choices.

Shapes: N rows of the log, A actions.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recloop.errors import DataError
from recloop.evaluation.off_policy.estimate import Estimate, Floats, OffPolicyConfig, diagnose, interval


@dataclass(frozen=True, kw_only=True)
class Log:
    """What was chosen with which probability and what came of it, and how likely the target chooses the same.

    Attributes:
        rewards: (N,).
        propensities: (N,), the log's probability of its own choice, above 0.
        targets: (N,), the target's probability of that choice.
        users: (N,), whose row it is, any labels; by default each row is of somebody else.
        unsupported: mean share of the target's probability on choices that the log never makes.

    Raises:
        DataError: lengths differ, there is no row, a number is not finite, or a probability is none.
    """

    rewards: ArrayLike
    propensities: ArrayLike
    targets: ArrayLike
    users: ArrayLike | None = field(default=None)
    unsupported: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rewards", "propensities", "targets"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        _check(self.reward, self.propensity, self.target)
        if self.users is not None and len(np.asarray(self.users)) != len(self.reward):
            raise DataError(
                f"users has {len(np.asarray(self.users))} rows, but rewards has {len(self.reward)}; give one for each."
            )

    @property
    def reward(self) -> Floats:
        """`rewards` as float64 (N,)."""
        return np.asarray(self.rewards)

    @property
    def propensity(self) -> Floats:
        """`propensities` as float64 (N,)."""
        return np.asarray(self.propensities)

    @property
    def target(self) -> Floats:
        """`targets` as float64 (N,)."""
        return np.asarray(self.targets)

    @cached_property
    def weights(self) -> Floats:
        """``w = target / propensity``, (N,)."""
        return self.target / self.propensity

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The user of each row from 0, int64 (N,)."""
        return group(self.users, len(self.reward))


def group(users: ArrayLike | None, rows: int) -> NDArray[np.int64]:
    """Labels as numbers from 0, int64 (N,); without labels each row has its own."""
    return np.arange(rows) if users is None else np.unique(np.asarray(users), return_inverse=True)[1].astype(np.int64)


def _check(rewards: Floats, propensities: Floats, targets: Floats) -> None:
    """Refuse a log that no estimator can read.

    Raises:
        DataError: see `Log`.
    """
    for name, values in (("propensities", propensities), ("targets", targets)):
        if values.shape != rewards.shape:
            raise DataError(f"{name} has the shape {values.shape}, but rewards {rewards.shape}; give one for each.")
    if not rewards.size:
        raise DataError("The log is empty; give at least one row.")
    if not np.isfinite(rewards).all():
        raise DataError("rewards holds a number that is not finite; correct or drop its row.")
    for name, values, least in (("propensities", propensities, "above 0"), ("targets", targets, "at least 0")):
        low = values > 0 if least == "above 0" else values >= 0
        if not (low & (values <= 1)).all():
            bad = values[~(low & (values <= 1))][0]
            raise DataError(f"{name} holds {bad:g}, but must be {least} and at most 1; correct or drop its row.")


def ips(log: Log, config: OffPolicyConfig) -> Estimate:
    """Inverse propensity scores: ``mean(w r)``; right on average, however wild (Horvitz and Thompson, 1952).

    Raises:
        OverlapError: a floor of `config` is not kept; so do all others here.
    """
    return _estimate("ips", log, log.weights * log.reward, config)


def clipped_ips(log: Log, config: OffPolicyConfig) -> Estimate:
    """``mean(min(w, clip) r)``: calmer, and too low for rewards above 0 (Bottou et al., JMLR 2013).

    `Diagnostics.clipped` is the share of the weights that was taken off, so for rewards from 0 to 1 the estimate is too
    low by at most about that.
    """
    kept = np.minimum(log.weights, config.clip)
    found = _estimate("clipped_ips", log, kept * log.reward, config)
    total = float(log.weights.sum())
    clipped = 1 - float(kept.sum()) / total if total else 0.0
    return replace(found, diagnostics=replace(found.diagnostics, clipped=clipped))


def snips(log: Log, config: OffPolicyConfig) -> Estimate:
    """Self-normalised: ``sum(w r) / sum(w)``, within the range of rewards (Swaminathan and Joachims, NIPS 2015).

    Its bias falls with 1/N. The interval is that of its linear part, ``w (r - value) / mean(w)``.
    """
    diagnostics = diagnose(log.weights, log.groups, log.unsupported, config)
    value = float(log.weights @ log.reward) / float(log.weights.sum())
    influences = value + log.weights * (log.reward - value) / log.weights.mean()
    bounds = interval(influences, log.groups, log.weights, config.level)
    return Estimate(estimator="snips", value=value, interval=bounds, level=config.level, diagnostics=diagnostics)


def doubly_robust(log: Log, predicted: ArrayLike, expected: ArrayLike, config: OffPolicyConfig) -> Estimate:
    """``mean(m_pi + w (r - m))``: right on average if the propensities or the model are (Dudik et al., ICML 2011).

    Args:
        log: the log.
        predicted: ``m`` (N,), a model's reward of what was chosen; the model has not learnt from the row itself.
        expected: ``m_pi`` (N,), its mean reward over the target's choices.
        config: floors and level.

    Raises:
        DataError: lengths differ, or a prediction is not finite.
        OverlapError: a floor of `config` is not kept.
    """
    model, over = np.asarray(predicted, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    for name, values in (("predicted", model), ("expected", over)):
        if values.shape != log.reward.shape or not np.isfinite(values).all():
            raise DataError(f"{name} must hold one finite number for each of {len(log.reward)} rows; correct it.")
    return _estimate("doubly_robust", log, over + log.weights * (log.reward - model), config)


def cross_fitted_means(
    actions: NDArray[np.int64],
    rewards: ArrayLike,
    targets: Floats,
    *,
    prior: float = 10.0,
    folds: int = 5,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """A model without context for `doubly_robust`: each action's mean reward, in folds, so that no row tells of itself.

    The mean of an action is drawn towards that of all as if `prior` rows of that had been seen.

    Args:
        actions: int64 (N,), what was chosen, from 0 to A - 1.
        rewards: (N,).
        targets: (A,), the target's probabilities, or (N, A), for each row.
        prior: above 0.
        folds: at least 2.
        seed: deals the rows into folds.

    Returns:
        `predicted` and `expected`, (N,) each.
    """
    values = np.asarray(rewards, dtype=np.float64)
    n_actions = targets.shape[-1]
    fold = np.random.default_rng(seed).permutation(len(values)) % folds
    predicted, expected = np.empty(len(values)), np.empty(len(values))
    for own in range(folds):
        learnt, asked = fold != own, fold == own
        overall = float(values[learnt].mean()) if learnt.any() else 0.0
        counts = np.bincount(actions[learnt], minlength=n_actions)
        sums = np.bincount(actions[learnt], weights=values[learnt], minlength=n_actions)
        means = (sums + prior * overall) / (counts + prior)
        predicted[asked] = means[actions[asked]]
        expected[asked] = (targets if targets.ndim == 1 else targets[asked]) @ means
    return predicted, expected


def _estimate(name: str, log: Log, influences: Floats, config: OffPolicyConfig) -> Estimate:
    diagnostics = diagnose(log.weights, log.groups, log.unsupported, config)
    bounds = interval(influences, log.groups, log.weights, config.level)
    value = float(influences.mean())
    return Estimate(estimator=name, value=value, interval=bounds, level=config.level, diagnostics=diagnostics)
