"""The gate: which model, if any, may replace the one that serves.

A challenger passes if its improvement over the champion and over the baseline, on the same users, is sure (the lower
bound of the paired bootstrap interval lies above `min_improvement`) and every floor holds. Of those that pass, the one
with the highest metric wins. With no champion the baseline is the incumbent. Rejecting all is an ordinary outcome.

With m challengers each interval has the level 1 - (1 - level) / m (Bonferroni), so that the chance that any of m
challengers of no merit passes is at most about (1 - level) / 2, however many are tried. A challenger that must beat
both champion and baseline needs no further correction, as it has to pass both tests.

For a handful of users no bootstrap interval is worth its name. A challenger of no merit is ahead for every one of n
users in 2^-n of all cases, and then its interval lies above 0; so where 2^-n exceeds half of what the level leaves,
which are fewer than 6 users at 95%, nobody passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, field_validator

from recloop import models
from recloop.columns import USER
from recloop.config import Config, Seed
from recloop.errors import ConfigError
from recloop.evaluation.off_policy import OffPolicyConfig
from recloop.evaluation.significance import paired_bootstraps
from recloop.metrics import Ranking, parse


class Floors(Config):
    """What a challenger must keep whatever its metric; an empty mapping or null asks for nothing.

    Attributes:
        at_least: the least value of any evaluated metric, for example ``{"coverage@10": 0.01}``.
        at_most: the largest value of any evaluated metric, for example ``{"popularity_bias@10": 1.5}``.
        slices: the largest share of the incumbent's metric that may be lost in a slice, for example
            ``{"cold_users": 0.2}``: there the challenger needs at least 80% of what the incumbent has.
        slice_users: a slice with fewer users than this is noise and is not judged.
        latency_mean_ms: the largest mean time to answer one request, in milliseconds.
        latency_p95_ms: the largest 95th percentile of it.
    """

    at_least: dict[str, float] = Field(default={"coverage@10": 0.01})
    at_most: dict[str, float] = Field(default={})
    slices: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default={"cold_users": 0.2, "tail_items": 0.2})
    slice_users: int = Field(default=30, ge=1)
    latency_mean_ms: float | None = Field(default=None, gt=0)
    latency_p95_ms: float | None = Field(default=500.0, gt=0)


class LoggedConfig(Config):
    """What the champion's logged slates decide, see `SlateValues`.

    Attributes:
        reject: whether a challenger is rejected whose slates would surely have earned less than the champion's did.
        slates: how many of the champion's newest slates are looked at.
        floors: level of the intervals, and when an estimate is refused.
    """

    reject: bool = False
    slates: int = Field(default=10_000, ge=1)
    floors: OffPolicyConfig = OffPolicyConfig()


class GateConfig(Config):
    """When a challenger may replace the champion.

    Attributes:
        metric: the metric that decides; one of `evaluate.metrics` that is taken from ranks, so higher is better.
        baseline: the model that every challenger must beat.
        min_improvement: by how much, in units of the metric, it must surely be better.
        level: level of the intervals before they are widened for the number of challengers.
        samples: bootstrap samples.
        seed: seeds the bootstrap.
        floors: see `Floors`.
        off_policy: see `LoggedConfig`.
    """

    metric: str = "ndcg@10"
    baseline: str = "popularity"
    min_improvement: float = Field(default=0.0, ge=0)
    level: float = Field(default=0.95, gt=0, lt=1)
    samples: int = Field(default=10_000, ge=1000)
    seed: Seed = 0
    floors: Floors = Floors()
    off_policy: LoggedConfig = LoggedConfig()

    @field_validator("baseline")
    @classmethod
    def _known(cls, baseline: str) -> str:
        if baseline not in models.names():
            raise ValueError(f"there is no such model among {', '.join(models.names())}")
        return baseline


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What the gate knows of one evaluated model.

    Attributes:
        model: its name.
        users: `user_id` and one column a metric; the same users in the same order for all contenders.
        metrics: every metric's value; of rivals only the one that decides is looked at.
        slices: slice -> {"users": how many, metric: value}.
        latency_ms: "mean" and "p95" of the time to answer one request.
        bundle: the id of the bundle that it was loaded from, for the champion.
        is_champion: whether a candidate's weights are those of the champion.
    """

    model: str
    users: pl.DataFrame
    metrics: Mapping[str, float]
    slices: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    latency_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    bundle: str | None = None
    is_champion: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A candidate against one rival: mean difference, its 95% interval, and the interval that decides."""

    difference: float
    ci95: tuple[float, float]
    level: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True, kw_only=True)
class Floor:
    """A floor (or, for latencies, a ceiling), and whether it holds."""

    name: str
    value: float
    bound: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class SlateValue:
    """The share of slates whose first place is acted on.

    Attributes:
        method: the estimator, or ``logged`` for what was counted.
        value: the share.
        interval: its bounds at `level`.
        level: of the interval.
        effective: effective sample size, in people; of what was counted, the number of people.
    """

    method: str
    value: float
    interval: tuple[float, float]
    level: float
    effective: float


@dataclass(frozen=True, kw_only=True)
class SlateValues:
    """What the champion's log of slates says of it and of the challengers.

    Attributes:
        remark: one sentence where the log allows no estimate of anybody.
        slates: of the champion that were looked at.
        logged: what they earned.
        estimates: model -> what its slates would have earned, `snips` first.
        refused: model -> one sentence, why there is no estimate.
    """

    remark: str | None = None
    slates: int = 0
    logged: SlateValue | None = None
    estimates: Mapping[str, list[SlateValue]] = field(default_factory=dict[str, list[SlateValue]])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the gate found about one candidate. `against` holds the baseline by its name, and "champion"."""

    model: str
    value: float
    passed: bool
    against: dict[str, Comparison | None]
    floors: list[Floor]
    reasons: list[str]
    off_policy: list[SlateValue] = field(default_factory=list[SlateValue])


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether to promote, whom, and why. `winner` is the model to package; `None` keeps the champion's bundle.

    `logged` is what the champion's logged slates earned, where off-policy estimates are compared with it.
    """

    verdict: Literal["promote", "keep"]
    winner: str | None
    champion: dict[str, str] | None
    metric: str
    reasons: list[str]
    candidates: list[Judgement]
    logged: SlateValue | None = None

    def record(self) -> dict[str, Any]:
        """The decision as plain values for JSON."""
        return asdict(self)


def decide(
    candidates: Sequence[Contender],
    *,
    baseline: Contender,
    champion: Contender | None,
    config: GateConfig,
    values: SlateValues | None = None,
) -> Decision:
    """Judge all candidates and decide.

    Args:
        candidates: the models of this run; the baseline may be among them.
        baseline: the model of the name `config.baseline`, evaluated on the same users.
        champion: the model that serves, evaluated on the same users; `None` if there is none yet.
        config: when a challenger may win.
        values: what the champion's log says, if anything.

    Raises:
        ConfigError: the metric, a floor's metric or a slice was not evaluated, or the metric is not taken from ranks,
            so that higher need not be better.
    """
    _check(candidates, [baseline, champion] if champion else [baseline], config)
    challengers = [one.model for one in candidates if not _incumbency(one, baseline, champion)]
    level = 1 - (1 - config.level) / max(1, len(challengers))
    values = values or SlateValues()
    judgements = [_judge(one, baseline, champion, level=level, config=config, values=values) for one in candidates]
    passed = sorted((one for one in judgements if one.passed), key=lambda one: (-one.value, one.model))
    if passed:
        winner, reasons = passed[0].model, _promotion(passed, champion, config)
    else:
        winner, reasons = _kept(judgements, baseline, champion)
    if len(challengers) > 1:
        share = _percent((1 - config.level) / 2)
        reasons.append(
            f"As {len(challengers)} challengers were tried, each was judged by its {_percent(level)} interval: if none "
            f"of them had any merit, one would still be promoted in at most about {share} of such decisions."
        )
    if values.remark:
        reasons.append(values.remark)
    return Decision(
        verdict="promote" if passed else "keep",
        winner=winner,
        champion={"bundle": champion.bundle or "", "model": champion.model} if champion else None,
        metric=config.metric,
        reasons=reasons,
        candidates=judgements,
        logged=values.logged,
    )


def leaderboard(candidates: Sequence[Contender], metric: str, values: SlateValues | None = None) -> pl.DataFrame:
    """One row a model, best first: `model`, the `metric` that decides, and all others; null where undefined.

    If there are off-policy estimates, `slate_value` and its bounds `slate_value_low` and `slate_value_high` follow.
    """
    rows = [{"model": one.model, metric: one.metrics[metric], **one.metrics} for one in candidates]
    if values and values.estimates:
        for row in rows:
            found = values.estimates.get(str(row["model"]))
            numbers = (found[0].value, *found[0].interval) if found else (None, None, None)
            row |= dict(zip(("slate_value", "slate_value_low", "slate_value_high"), numbers, strict=True))
    return pl.DataFrame(rows, infer_schema_length=None).sort([metric, "model"], descending=[True, False])


def _check(candidates: Sequence[Contender], rivals: Sequence[Contender], config: GateConfig) -> None:
    users = rivals[0].users[USER]
    for one in (*candidates, *rivals):
        assert one.users[USER].equals(users), f"{one.model} was evaluated on other users than {rivals[0].model}"
        known = [name for name in one.users.columns if name in one.metrics and parse(name).takes is Ranking]
        if config.metric not in known or one.users[config.metric].null_count():
            raise ConfigError(
                f"params.yaml: gate.metric is '{config.metric}', which {one.model} does not have for every user; "
                f"choose one of these or add it to evaluate.metrics: {', '.join(known)}."
            )
        for name in config.floors.slices:
            if name not in one.slices:
                raise ConfigError(
                    f"params.yaml: gate.floors.slices names '{name}', which is not a slice; choose from: "
                    f"{', '.join(one.slices)}."
                )
            if one.slices[name]["users"] >= config.floors.slice_users and config.metric not in one.slices[name]:
                raise ConfigError(
                    f"params.yaml: gate.floors.slices needs '{config.metric}' for each slice, which {one.model} lacks; "
                    f"name it first in evaluate.metrics or empty gate.floors.slices."
                )
    for one in candidates:
        for key, bounds in (("at_least", config.floors.at_least), ("at_most", config.floors.at_most)):
            for name in bounds:
                if name not in one.metrics:
                    raise ConfigError(
                        f"params.yaml: gate.floors.{key} names '{name}', which {one.model} does not have; add it to "
                        f"evaluate.metrics or choose from: {', '.join(one.metrics)}."
                    )


def _incumbency(candidate: Contender, baseline: Contender, champion: Contender | None) -> str | None:
    """Why a candidate is no challenger, or `None` if it is one."""
    if champion and candidate.is_champion:
        return f"{candidate.model} is the champion already: its weights equal those of bundle {champion.bundle}."
    if not champion and candidate.model == baseline.model:
        return f"{candidate.model} is the baseline that challengers must beat while there is no champion."
    return None


def _judge(
    candidate: Contender,
    baseline: Contender,
    champion: Contender | None,
    *,
    level: float,
    config: GateConfig,
    values: SlateValues,
) -> Judgement:
    incumbency = _incumbency(candidate, baseline, champion)
    against: dict[str, Comparison | None] = {baseline.model: None, "champion": None}
    reasons: list[str] = [incumbency] if incumbency else []
    sure = not incumbency
    if candidate.model != baseline.model:
        against[baseline.model] = beaten = _compare(candidate, baseline, level, config)
        sure &= _surely_better(beaten, config)
        if not incumbency:
            reasons.append(_sentence(candidate, baseline.model, beaten, config))
    if champion and not incumbency:
        against["champion"] = beaten = _compare(candidate, champion, level, config)
        sure &= _surely_better(beaten, config)
        reasons.append(_sentence(candidate, f"the champion {champion.model}", beaten, config))
    if not incumbency and 0.5**candidate.users.height > (1 - level) / 2:
        sure = False
        reasons.append(
            f"{candidate.model} cannot be judged: among {candidate.users.height} users, being better for every one of "
            f"them is no evidence at a level of {_percent(level)}."
        )
    floors, remarks = _floors(candidate, champion or baseline, config)
    if not incumbency:
        rejected, said = _by_the_log(candidate.model, values, config)
        sure &= not rejected
        remarks += said
    return Judgement(
        model=candidate.model,
        value=candidate.metrics[config.metric],
        passed=sure and all(floor.passed for floor in floors),
        against=against,
        floors=floors,
        reasons=reasons + remarks if not incumbency else reasons,
        off_policy=list(values.estimates.get(candidate.model, [])) if not incumbency else [],
    )


def _by_the_log(model: str, values: SlateValues, config: GateConfig) -> tuple[bool, list[str]]:
    """Whether the champion's log rejects a challenger, and what it says of it."""
    if model in values.refused:
        return False, [values.refused[model]]
    found, logged = values.estimates.get(model), values.logged
    if not found or logged is None:
        return False, []
    numbers = "; ".join(
        f"{one.method}: {one.value:.4f}, {_percent(one.level)} interval {one.interval[0]:.4f} to "
        f"{one.interval[1]:.4f}, {one.effective:.0f} effective people"
        for one in found
    )
    first = (
        f"The first place of {model}'s slates would have been acted on in this share of the champion's {values.slates} "
        f"logged ones, by {numbers}; the champion's was in {logged.value:.4f}."
    )
    if found[0].interval[1] >= logged.value:
        return False, [first]
    reject = config.off_policy.reject
    end = "so it is rejected" if reject else "which is only reported, as gate.off_policy.reject is off"
    return reject, [first, f"{model} would surely have earned less than the champion did, {end}."]


def _compare(candidate: Contender, rival: Contender, level: float, config: GateConfig) -> Comparison:
    a, b = (one.users[config.metric].to_numpy() for one in (candidate, rival))
    wide, plain = paired_bootstraps(a, b, seed=config.seed, samples=config.samples, levels=(level, 0.95))
    return Comparison(
        difference=wide.mean,
        ci95=(plain.low, plain.high),
        level=level,
        interval=(wide.low, wide.high),
        p=wide.p,
    )


def _surely_better(comparison: Comparison, config: GateConfig) -> bool:
    return comparison.interval[0] > config.min_improvement


def _floors_of_metrics(candidate: Contender, bounds: Floors) -> tuple[list[Floor], list[str]]:
    floors, remarks = list[Floor](), list[str]()
    for name, bound in bounds.at_least.items():
        value = candidate.metrics[name]
        floors.append(Floor(name=name, value=value, bound=bound, passed=value >= bound))
        if value < bound:
            remarks.append(f"{candidate.model} breaks the floor of {name}: {value:.4f} is below {bound:.4f}.")
    for name, bound in bounds.at_most.items():
        value = candidate.metrics[name]
        floors.append(Floor(name=name, value=value, bound=bound, passed=value <= bound))
        if value > bound:
            remarks.append(f"{candidate.model} breaks the ceiling of {name}: {value:.4f} is above {bound:.4f}.")
    return floors, remarks


def _floors(candidate: Contender, incumbent: Contender, config: GateConfig) -> tuple[list[Floor], list[str]]:
    """All floors that can be judged, and sentences about those that break or cannot be judged."""
    bounds = config.floors
    floors, remarks = _floors_of_metrics(candidate, bounds)
    for name, loss in bounds.slices.items():
        users = candidate.slices[name]["users"]
        if users < bounds.slice_users:
            remarks.append(f"The slice {name} is not judged: {users:.0f} users are fewer than {bounds.slice_users}.")
            continue
        value, bound = candidate.slices[name][config.metric], (1 - loss) * incumbent.slices[name][config.metric]
        floors.append(Floor(name=f"{config.metric} in {name}", value=value, bound=bound, passed=value >= bound))
        if value < bound:
            remarks.append(
                f"{candidate.model} loses too much in the slice {name}: its {config.metric} of {value:.4f} is below "
                f"{bound:.4f}, which is {_percent(1 - loss)} of what {incumbent.model} has there."
            )
    for name, bound in (("mean", bounds.latency_mean_ms), ("p95", bounds.latency_p95_ms)):
        if bound is None:
            continue
        value = candidate.latency_ms[name]
        floors.append(Floor(name=f"latency_{name}_ms", value=value, bound=bound, passed=value <= bound))
        if value > bound:
            remarks.append(
                f"{candidate.model} is too slow: the {name} time of a request is {value:.1f} ms, above {bound:.1f} ms."
            )
    return floors, remarks


def _sentence(candidate: Contender, rival: str, comparison: Comparison, config: GateConfig) -> str:
    low, high = comparison.interval
    numbers = (
        f"its {config.metric} differs by {comparison.difference:+.4f} and the {_percent(comparison.level)} interval "
        f"over {candidate.users.height} users, {low:+.4f} to {high:+.4f},"
    )
    if _surely_better(comparison, config):
        return f"{candidate.model} beats {rival}: {numbers} lies above {config.min_improvement:g}."
    return f"{candidate.model} does not surely beat {rival}: {numbers} does not lie above {config.min_improvement:g}."


def _promotion(passed: Sequence[Judgement], champion: Contender | None, config: GateConfig) -> list[str]:
    winner = passed[0]
    replaced = f"replaces the champion {champion.model}" if champion else "becomes the first champion"
    first = f"{winner.model} {replaced}: its {config.metric} is {winner.value:.4f}"
    others = ", ".join(f"{one.model} ({one.value:.4f})" for one in passed[1:])
    return [f"{first}, ahead of {others}, which passed too." if others else f"{first}.", *winner.reasons]


def _kept(
    judgements: Sequence[Judgement], baseline: Contender, champion: Contender | None
) -> tuple[str | None, list[str]]:
    if champion:
        winner, first = None, f"the champion {champion.model} stays"
    else:
        winner, first = baseline.model, f"the baseline {baseline.model} is to serve"
    return winner, [f"No challenger passed, so {first}.", *(reason for one in judgements for reason in one.reasons)]


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"
