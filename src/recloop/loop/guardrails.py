"""Does a canary do harm? Failures, fallbacks, empty slates and latency, judged minutes after the requests.

The unit is what is drawn for the canary: a user, or one request of nobody. In each round (a day) a user counts once,
with the mean over the requests of the first `visit_seconds` of theirs in it; a request of one user tells little more
than another, and a user who is counted every day shows too what begins to go wrong late. All four quantities lie in
[0, 1]: whether the bundle that was asked first failed, whether no history was scored, whether the slate was empty, and
the time the answer took, cut at `longest_seconds`, as a part of that. A failure is counted in the canary although the
champion answered in its place.

With s the canary's share, Y_i the value of the i-th unit in time and A_i whether it is in the canary, let

    Z_i = A_i Y_i / s - r (1 - A_i) Y_i / (1 - s) - d,      E[Z_i] = m_canary - r m_champion - d.

If the canary is no worse than allowed, E[Z_i] <= 0, so for 0 <= l < 1 / (r / (1 - s) + d) the product of the 1 + l Z_i
is a non-negative supermartingale that begins at 1, and so is the mean of such products over several l. Its maximum
over all times is at least x with probability at most 1 / x (Ville's inequality); so a round is decided once it exceeds
rounds · quantities / alpha. This holds exactly, for any number of units, however rare the failures and however often
one looks: betting, as in Waudby-Smith and Ramdas ("Estimating means of bounded random variables by betting", Journal
of the Royal Statistical Society B, 2024, section 4), on inversely weighted outcomes. Rounds are united by Bonferroni's
inequality, since who is in the canary is the same in all of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field
from scipy.special import logsumexp

from recloop.columns import REQUEST, TIME, USER
from recloop.config import Config

_MICRO = 1_000_000
_STAKES = np.geomspace(0.002, 0.98, 12)
"""Parts of the largest l."""
_UNITS = 65_536
Numbers = npt.NDArray[np.float64]


class GuardrailConfig(Config):
    """How much worse than the champion a canary may be.

    Attributes:
        max_error_increase: of the share of requests that the bundle asked failed to answer.
        max_fallback_increase: of the share answered without a history.
        max_empty_increase: of the share of slates that hold nothing.
        max_latency_ratio: mean time of an answer, as a multiple of the champion's ...
        max_latency_increase_seconds: ... and this much more.
        longest_seconds: a longer answer counts as one of this length.
        visit_seconds: which requests of a user in a round count: those so soon after the first.
        round_hours: how often a user counts.
        settle_seconds: requests so soon after the share changed do not count: not all workers had noticed.
    """

    max_error_increase: float = Field(default=0.01, ge=0, lt=1)
    max_fallback_increase: float = Field(default=0.05, ge=0, lt=1)
    max_empty_increase: float = Field(default=0.01, ge=0, lt=1)
    max_latency_ratio: float = Field(default=1.5, ge=1)
    max_latency_increase_seconds: float = Field(default=0.01, ge=0)
    longest_seconds: float = Field(default=0.5, gt=0)
    visit_seconds: float = Field(default=60, ge=0)
    round_hours: float = Field(default=24, gt=0)
    settle_seconds: float = Field(default=10, ge=0)

    def limits(self) -> "dict[str, Limit]":
        """Of each quantity, by the name of its column in `units`."""
        slack = min(1.0, self.max_latency_increase_seconds / self.longest_seconds)
        return {
            "failed": Limit(ratio=1, increase=self.max_error_increase),
            "fallback": Limit(ratio=1, increase=self.max_fallback_increase),
            "empty": Limit(ratio=1, increase=self.max_empty_increase),
            "latency": Limit(ratio=self.max_latency_ratio, increase=slack),
        }


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What is allowed: the canary's mean may be up to `ratio` times the champion's, and `increase` more."""

    ratio: float
    increase: float


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """One quantity in both arms.

    Attributes:
        canary, champion: means over all units of all rounds; shares, or seconds.
        units: how many these are, of the canary and of the champion.
        p: a bound of the probability of such evidence of harm, or more, at any time, if the canary keeps the limit.
        harm: whether that is below the level.
        sentence: all of that for a person.
    """

    canary: float
    champion: float
    units: tuple[int, int]
    p: float
    harm: bool
    sentence: str

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def units(slates: pl.DataFrame, config: GuardrailConfig, *, since: int, now: int) -> pl.DataFrame:
    """One row a unit and round whose visit is over, in the order of time.

    Args:
        slates: shown ones, columns of `store.slates`.
        config: how.
        since: when the canary's share became what it is, microseconds since 1970 UTC.
        now: the same of now.

    Returns:
        Columns `round`, `canary` (bool), and the quantities in [0, 1]; null where not known.
    """
    visit, settle = (round(s * _MICRO) for s in (config.visit_seconds, config.settle_seconds))
    length = round(config.round_hours * 3_600 * _MICRO)
    nobody = pl.col(USER).is_null()
    unit = pl.when(nobody).then(pl.lit("request ") + pl.col(REQUEST)).otherwise(pl.lit("user ") + pl.col(USER))
    counted = slates.filter(pl.col(TIME) >= since + settle).with_columns(
        unit.alias("unit"), ((pl.col(TIME) - since) // length).alias("round")
    )
    keys, first = ("unit", "round"), pl.col(TIME).min().over("unit", "round")
    visits = counted.sort(TIME, "seq").filter(
        pl.col(TIME) <= first + visit,
        nobody | (first + visit <= now),
        pl.col("arm") == pl.col("arm").first().over(*keys),
    )
    return (
        visits.group_by(*keys, maintain_order=True)
        .agg(
            (pl.col("arm").first() != "champion").alias("canary"),
            pl.col("failed").is_not_null().mean().alias("failed"),
            pl.col("fallback").is_not_null().mean().alias("fallback"),
            (pl.col("places") == 0).mean().alias("empty"),
            (pl.col("took") / (_MICRO * config.longest_seconds)).clip(0, 1).mean().alias("latency"),
        )
        .drop("unit")
    )


def evidence(
    values: Numbers, canary: npt.NDArray[np.bool_], *, share: float, limit: Limit
) -> Iterator[npt.NDArray[np.float64]]:
    """The logarithm of the mean of the products after each unit, in parts.

    Args:
        values: float64 (N,) in [0, 1], in the order of time.
        canary: bool (N,), which units are in the canary.
        share: of the canary.
        limit: what is allowed.
    """
    stakes = _STAKES / (limit.ratio / (1 - share) + limit.increase)
    product = np.zeros(len(stakes))
    for start in range(0, len(values), _UNITS):
        part, chosen = values[start : start + _UNITS], canary[start : start + _UNITS]
        gain = np.where(chosen, part / share, -limit.ratio * part / (1 - share)) - limit.increase
        running = product + np.cumsum(np.log1p(gain[:, None] * stakes), axis=0)
        product = running[-1]
        yield np.asarray(logsumexp(running, axis=1)) - np.log(len(stakes))


def strongest(found: pl.DataFrame, name: str, *, share: float, limit: Limit) -> float:
    """The most that the evidence of one quantity reached in one round; 0 for none. Arguments as in `guard`."""
    best = 0.0
    for part in found.drop_nulls(name).partition_by("round", maintain_order=True):
        values, canary = part[name].to_numpy().astype(np.float64), part["canary"].to_numpy()
        best = max([best, *(float(running.max()) for running in evidence(values, canary, share=share, limit=limit))])
    return best


def guard(
    found: pl.DataFrame, config: GuardrailConfig, *, share: float, alpha: float, rounds: int
) -> dict[str, Guardrail]:
    """Judge all quantities.

    Args:
        found: what `units` gives, all rounds so far.
        config: the limits.
        share: of the canary.
        alpha: probability of seeing any harm where every limit is kept.
        rounds: how many there are at most; later ones do not count.
    """
    limits = config.limits()
    judged: dict[str, Guardrail] = {}
    for name, limit in limits.items():
        known = found.filter(pl.col("round") < rounds).drop_nulls(name)
        p = min(1.0, rounds * float(np.exp(-strongest(known, name, share=share, limit=limit))))
        scale = config.longest_seconds if name == "latency" else 1
        arms = [known.filter(pl.col("canary") == chosen)[name] for chosen in (True, False)]
        means = [scale * float(arm.cast(pl.Float64).mean() or 0) for arm in arms]  # pyright: ignore[reportArgumentType]
        judged[name] = Guardrail(
            canary=means[0],
            champion=means[1],
            units=(arms[0].len(), arms[1].len()),
            p=p,
            harm=p <= alpha / len(limits),
            sentence=_sentence(name, means[0], means[1], config),
        )
    return judged


def harm(guardrails: Mapping[str, Guardrail]) -> str | None:
    """Why the canary has to be taken back, if it has to."""
    found = [one for one in guardrails.values() if one.harm]
    if not found:
        return None
    return f"{' '.join(one.sentence for one in found)} That is no chance: p = {min(one.p for one in found):.2g}."


def _sentence(name: str, canary: float, champion: float, config: GuardrailConfig) -> str:
    if name == "latency":
        ratio, more = config.max_latency_ratio, 1e3 * config.max_latency_increase_seconds
        return (
            f"The canary took {1e3 * canary:.1f} ms for an answer, the champion {1e3 * champion:.1f} ms; allowed are "
            f"{ratio:g} times as many and {more:g} more."
        )
    limit = config.limits()[name].increase
    shares = f"{canary:.1%} of the canary's requests, {champion:.1%} of the champion's"
    return f"{_WHAT[name]} {shares}; {limit:.1%} more is allowed."


_WHAT = {"failed": "Failed:", "fallback": "Answered without a history:", "empty": "Answered with nothing:"}
