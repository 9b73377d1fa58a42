"""Two arms compared as often as one likes: an interval that holds at all looks together.

Shapes: U users.

An arm's rate is ``r = sum a_u / sum n_u`` over its users, with a_u of their n_u slates acted on. People are the units:
``psi_u = (a_u - r n_u) / sum n`` is the influence of one, ``U / (U - 1) sum psi_u^2`` the variance of r. Of the
difference of two rates, d with variance v, the information is ``I = 1 / v``. As people come, ``d I`` moves like a
Brownian motion in I whose drift is the true difference (Jennison and Turnbull, "Group-sequential analysis incorporating
covariate information", JASA 1997), so with probability ``1 - alpha`` the true difference stays for ever within

    d -+ sqrt((I + rho) ln((I + rho) / (rho alpha^2))) / I

(Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; for estimated variances Waudby-Smith
et al., "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 2024). It holds
for many people, so nothing is said before each arm has `CanaryConfig.least_users`. rho makes it narrowest at the
information at which a difference of `CanaryConfig.expected` is about to be found (Howard et al., "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 2021, section 3.5).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import lambertw

from recloop.config import Config

Floats = NDArray[np.float64]
Verdict = Literal["promote", "rollback", "wait"]


class CanaryConfig(Config):
    """When a canary is over.

    Attributes:
        alpha: probability that canaries which are no different end by the interval, either way.
        least_users: of each arm, before anything is said.
        min_improvement: promoted if the rate is surely higher by more than this.
        tolerance: taken back if the rate is surely lower by more than this.
        expected: the difference of rates at which the interval is meant to be narrowest.
        max_empty: taken back if the share of slates without items is surely higher than the champion's by this.
        max_days: taken back if nothing was found by then; the champion stays.
    """

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    least_users: int = Field(default=100, ge=2)
    min_improvement: float = Field(default=0.0, ge=0)
    tolerance: float = Field(default=0.0, ge=0)
    expected: float = Field(default=0.03, gt=0)
    max_empty: float = Field(default=0.01, ge=0)
    max_days: float = Field(default=14.0, gt=0)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What the users of one arm did.

    Attributes:
        slates: float64 (U,), slates that each was shown, at least 1.
        acted: float64 (U,), how many of them were acted on.
        empty: float64 (U,), how many of them had no items.
    """

    slates: Floats
    acted: Floats
    empty: Floats


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The challenger's rate less the champion's, with its always valid interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Review:
    """What a look at a canary says.

    Attributes:
        verdict: ``promote`` the challenger, ``rollback`` to the champion alone, or ``wait``.
        reason: one sentence.
        users: of the champion and of the challenger.
        acted: difference of the rates at which slates are acted on; `None` before there are enough users.
        empty: the same of slates without items.
    """

    verdict: Verdict
    reason: str
    users: tuple[int, int]
    acted: Difference | None = None
    empty: Difference | None = None


def review(champion: Arm, challenger: Arm, config: CanaryConfig, days: float) -> Review:
    """Judge a canary that has run for `days`; may be called at any time and as often as one likes.

    Of `alpha`, nine tenths guard the rate of slates that are acted on and one tenth that of empty ones.
    """
    users = (len(champion.slates), len(challenger.slates))
    over = days >= config.max_days
    if min(users) < config.least_users:
        seen = f"{min(users):,} users of an arm are fewer than {config.least_users:,}"
        if over:
            return Review(verdict="rollback", reason=f"After {days:.1f} days {seen}; the champion stays.", users=users)
        return Review(verdict="wait", reason=f"Nothing is said yet: {seen}.", users=users)
    acted = _difference(
        (champion.acted, champion.slates), (challenger.acted, challenger.slates), 0.9 * config.alpha, config.expected
    )
    empty = _difference(
        (champion.empty, champion.slates), (challenger.empty, challenger.slates), 0.1 * config.alpha, config.expected
    )
    span = f"{acted.value:+.4f}, surely between {acted.low:+.4f} and {acted.high:+.4f}"
    verdict: Verdict
    if empty.low > config.max_empty:
        verdict = "rollback"
        reason = f"The challenger leaves {empty.value:+.2%} more slates empty, surely {empty.low:+.2%}."
    elif acted.high < -config.tolerance:
        verdict, reason = "rollback", f"The challenger is surely worse: its rate of slates acted on differs by {span}."
    elif acted.low > config.min_improvement:
        verdict, reason = "promote", f"The challenger is surely better: its rate of slates acted on differs by {span}."
    elif over:
        verdict, reason = "rollback", f"After {days:.1f} days nothing is sure ({span}); the champion stays."
    else:
        verdict, reason = "wait", f"Nothing is sure yet: the rates of slates acted on differ by {span}."
    return Review(verdict=verdict, reason=reason, users=users, acted=acted, empty=empty)


def radius(information: float, alpha: float, rho: float) -> float:
    """Half the width of the interval at this information; see the module's docstring."""
    total = information + rho
    return math.sqrt(total * math.log(total / (rho * alpha**2))) / information


def mixture(information: float, alpha: float) -> float:
    """The rho that makes the interval narrowest at this information."""
    inner = float(lambertw(-(alpha**2) / math.e, -1).real)
    return information / (-inner - 1)


def _difference(
    champion: tuple[Floats, Floats], challenger: tuple[Floats, Floats], alpha: float, expected: float
) -> Difference:
    rates, variances = zip(*(_rate(*arm) for arm in (champion, challenger)), strict=True)
    value, variance = rates[1] - rates[0], sum(variances)
    if not variance:
        return Difference(value=value, low=value, high=value)
    rho = mixture(2 * math.log(2 / alpha) / expected**2, alpha)
    reach = radius(1 / variance, alpha, rho)
    return Difference(value=value, low=value - reach, high=value + reach)


def _rate(counts: Floats, slates: Floats) -> tuple[float, float]:
    """``r`` and its variance."""
    total = float(slates.sum())
    rate = float(counts.sum()) / total
    influence = (counts - rate * slates) / total
    return rate, len(slates) / (len(slates) - 1) * float(influence @ influence)
