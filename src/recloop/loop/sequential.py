"""Is the challenger better or worse? A test of two arms that may be looked at after every user.

The unit is the user: each counts once, with one number, since requests of one user are not independent. With n_1 and
n_0 users so far, t = n_1 + n_0, means m_1 and m_0 and variances v_1 and v_0, the difference of the true means lies in

    m_1 - m_0 ± sqrt(v_1 / n_1 + v_0 / n_0) · sqrt((1 + 1 / x) · ln((1 + x) / alpha²)),   x = t rho²,

for all t at once with probability 1 - alpha: the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy
and Ramdas ("Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics, 2024, theorem
2.2) for the estimator whose regression is the arm's mean (their section 3); t (v_1 / n_1 + v_0 / n_0) is its variance.
rho makes it narrowest at `tuned_for` users: x = -W(-alpha² / e) - 1 there, W the lower branch of Lambert's function.
Looking as often as one likes costs nothing; a fixed interval looked at again and again is wrong sooner or later.

It is asymptotic, so nothing is decided below `min_users` in either arm. Where rewards are rare, an arm with few by
chance has a low mean and a low variance at once; so an arm's variance is taken to be at least that of all users.

Half of alpha goes to the reward (both sides), the other half to `loop.guardrails`. A challenger that equals the
champion is decided on with probability at most alpha.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import lambertw

from recloop.config import Config

Verdict = Literal["promote", "roll back", "go on", "undecided"]
Numbers = npt.NDArray[np.float64]
OF_REWARD = 0.5
"""The reward's part of alpha."""


class SequentialConfig(Config):
    """When to decide.

    Attributes:
        alpha: probability of any decision where there is no difference.
        min_users: in each arm before anything is decided.
        tuned_for: users of both arms at which the interval is narrowest.
        max_days: without a decision by then it is undecided.
        gain: how much better than the champion, in the reward's unit, the challenger must surely be to be promoted.
    """

    alpha: float = Field(default=0.05, gt=0, lt=1)
    min_users: int = Field(default=100, ge=2)
    tuned_for: int = Field(default=5_000, ge=1)
    max_days: float = Field(default=14, gt=0)
    gain: float = Field(default=0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Users of one arm: how many, the sum of their numbers, and of the squares. All of one shape, any."""

    count: Numbers
    total: Numbers
    squares: Numbers

    @classmethod
    def of(cls, values: npt.ArrayLike) -> "Sums":
        """The sums of one number a user."""
        numbers = np.asarray(values, dtype=np.float64)
        return cls(count=np.float64(numbers.size), total=numbers.sum(), squares=(numbers**2).sum())  # pyright: ignore[reportArgumentType]

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            count=self.count + other.count, total=self.total + other.total, squares=self.squares + other.squares
        )

    @property
    def mean(self) -> Numbers:
        """0 for nobody."""
        return self.total / np.maximum(self.count, 1)

    @property
    def variance(self) -> Numbers:
        """Unbiased; 0 for fewer than two users."""
        return np.maximum(self.squares - self.count * self.mean**2, 0) / np.maximum(self.count - 1, 1)


@dataclass(frozen=True, kw_only=True)
class Arms:
    """One quantity in both arms."""

    canary: Sums
    champion: Sums


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the test says.

    Attributes:
        verdict: ``promote``, ``roll back``, ``go on``, or ``undecided``: the time is over.
        reason: one sentence.
        users: of the canary and of the champion.
        interval: what a user of the canary has more than one of the champion: estimate, lower and upper bound; null
            where there are too few users.
    """

    verdict: Verdict
    reason: str
    users: dict[str, int]
    interval: dict[str, float | None]


def interval(arms: Arms, alpha: float, config: SequentialConfig) -> tuple[Numbers, Numbers]:
    """Bounds of the difference of means, canary less champion, valid at all times together with 1 - `alpha`.

    Infinite while an arm has fewer than `min_users`. Shapes: those of the sums.
    """
    pooled = (arms.canary + arms.champion).variance
    users = arms.canary.count + arms.champion.count
    enough = np.minimum(arms.canary.count, arms.champion.count) >= config.min_users
    square = sum(np.maximum(arm.variance, pooled) / np.maximum(arm.count, 1) for arm in (arms.canary, arms.champion))
    at_best = -float(np.real(lambertw(-(alpha**2) / np.e, -1))) - 1
    x = np.maximum(users, 1) * at_best / config.tuned_for
    width = np.sqrt(square * (1 + 1 / x) * np.log((1 + x) / alpha**2))
    difference = arms.canary.mean - arms.champion.mean
    return np.where(enough, difference - width, -np.inf), np.where(enough, difference + width, np.inf)


def judge(reward: Arms, config: SequentialConfig, *, days: float) -> Judgement:
    """Promote, roll back or go on.

    Args:
        reward: more is better; scalars.
        config: when to decide.
        days: since the canary began.
    """
    low, high = (float(bound) for bound in interval(reward, config.alpha * OF_REWARD, config))
    bounds = float(reward.canary.mean - reward.champion.mean), low, high
    users = {"canary": int(reward.canary.count), "champion": int(reward.champion.count)}
    verdict, reason = _verdict(bounds, users, config, days)
    return Judgement(verdict=verdict, reason=reason, users=users, interval=_json(bounds))


def _verdict(
    bounds: tuple[float, float, float], users: Mapping[str, int], config: SequentialConfig, days: float
) -> tuple[Verdict, str]:
    difference, low, high = bounds
    if high < 0:
        return "roll back", f"The canary's reward is lower: {difference:+.4g} a user, at best {high:+.4g}."
    if low > config.gain:
        return "promote", f"The canary's reward is higher: {difference:+.4g} a user, at least {low:+.4g}."
    if days >= config.max_days:
        return "undecided", f"{config.max_days:g} days have passed and the canary is neither better nor worse for sure."
    few = min(users, key=lambda arm: users[arm])
    if users[few] < config.min_users:
        return "go on", f"The {few} has {users[few]} users of the {config.min_users} that are needed."
    return "go on", f"The difference of {difference:+.4g} a user may be chance: it lies in [{low:+.4g}, {high:+.4g}]."


def _json(bounds: tuple[float, float, float]) -> dict[str, Any]:
    values = zip(("estimate", "low", "high"), bounds, strict=True)
    return {name: value if np.isfinite(value) else None for name, value in values}
