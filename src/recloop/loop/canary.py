"""The review of a canary: what both arms were worth to their users, what follows from it, and doing so.

A user counts once, with the mean reward of their shown slates of the first `horizon_seconds` after their first one in
the present split, when the events' window after these is over. A slate's reward is how many of its places were acted
on. Slates for nobody are not counted: what is not known to be two people cannot count as two. What needs no waiting is
judged first, by `loop.guardrails`, and a canary that does harm there is ended.

Where the users of the canary see interleaved slates, their preference is judged instead, by `loop.preference`.

Who belongs to an arm stays in it whatever happened: where the canary failed and the champion answered, the user is one
of the canary's.
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from recloop.columns import REQUEST, TIME, USER
from recloop.config import Config
from recloop.errors import StoreError
from recloop.loop import preference, traffic
from recloop.loop.attribution import AttributionConfig, attribute
from recloop.loop.deployments import BUNDLES, promote
from recloop.loop.guardrails import Guardrail, GuardrailConfig, harm, units
from recloop.loop.guardrails import guard as judge_guardrails
from recloop.loop.sequential import OF_REWARD, Arms, Judgement, SequentialConfig, Sums, judge
from recloop.store import Store
from recloop.store.slates import SCHEMA
from recloop.store.traffic import Canary, TrafficPlan

KIND = "canary"
_MICRO = 1_000_000
_DAY = 86_400 * _MICRO


class CanaryConfig(Config):
    """How canaries are reviewed.

    Attributes:
        horizon_seconds: which slates of a user count: those so soon after the first.
        attribution: which events count; its window is how long after a slate is waited for them.
        test: when to decide.
        guardrails: how much worse than the champion a canary may be, whatever it earns.
    """

    horizon_seconds: float = Field(default=86_400, ge=0)
    attribution: AttributionConfig = AttributionConfig()
    test: SequentialConfig = SequentialConfig()
    guardrails: GuardrailConfig = GuardrailConfig()

    @property
    def rounds(self) -> int:
        """How often a user counts for the guardrails at most."""
        return math.ceil(24 * self.test.max_days / self.guardrails.round_hours)


@dataclass(frozen=True, kw_only=True)
class Review:
    """What a review found and did.

    Attributes:
        bundle: the canary's id.
        judgement: what the tests say.
        guardrails: what was found of harm, by quantity.
        message: what was done, for a person.
    """

    bundle: str
    judgement: Judgement
    guardrails: dict[str, Guardrail]
    message: str


def review(root: Path, store: Store, config: CanaryConfig, *, now: int) -> Review | None:
    """Judge the canary, record that as a decision, and promote or end it; `None` if there is no canary.

    Args:
        root: the project's root, where its bundle is kept.
        store: holds the slates, the events, and the plan.
        config: how.
        now: microseconds since 1970 UTC.

    Raises:
        StoreError: the store cannot be reached, or the traffic changed meanwhile.
        BundleError: the canary is to be promoted, and its bundle is damaged.
    """
    plan = store.traffic()
    if plan.canary is None or plan.champion is None:
        return None
    slates = _slates(store, plan)
    guardrails = _guardrails(slates, plan.canary, config, now)
    found = _harmed(guardrails)
    if found is None:
        acted = _acted(store, slates, plan.canary, config, now)
        days = (now - plan.canary.share_since) / _DAY
        if plan.canary.interleaved:
            found = preference.judge(margins(slates, acted, plan.canary.bundle, config, now), config.test, days=days)
        else:
            found = judge(_arms(rewards(slates, acted, config, now)), config.test, days=days)
    record: dict[str, Any] = {"plan": asdict(plan), "config": config.model_dump(mode="json"), **asdict(found)}
    store.decide(KIND, found.verdict, record | {"guardrails": {name: one.record() for name, one in guardrails.items()}})
    if found.verdict == "go on":
        message = f"The canary goes on. {found.reason}"
        return Review(bundle=plan.canary.bundle, judgement=found, guardrails=guardrails, message=message)
    if store.traffic() != plan:
        raise StoreError("The traffic changed during the review; review the canary again.")
    if found.verdict == "promote":
        done = promote(root, store, reason=found.reason, bundle_folder=root / BUNDLES / plan.canary.bundle)
    else:
        done = traffic.end(root, store, bundle=plan.canary.bundle, reason=found.reason)
    message = f"{done.message} {found.reason}"
    return Review(bundle=plan.canary.bundle, judgement=found, guardrails=guardrails, message=message)


def guard(root: Path, store: Store, config: CanaryConfig, *, now: int) -> Review | None:
    """Look at the guardrails alone, and end a canary that does harm; `None` if it does none or there is none.

    That reads no events, so it may be done every few minutes. Only a canary's end is recorded.

    Args and errors are those of `review`.
    """
    plan = store.traffic()
    if plan.canary is None:
        return None
    guardrails = _guardrails(_slates(store, plan), plan.canary, config, now)
    return None if _harmed(guardrails) is None else review(root, store, config, now=now)


def _slates(store: Store, plan: TrafficPlan) -> pl.DataFrame:
    """What both arms showed since the canary's share is what it is."""
    assert plan.canary
    assert plan.champion
    canary, champion, arm = plan.canary, plan.champion.bundle, pl.col("arm")
    asked = pl.coalesce("failed", "bundle")
    if canary.interleaved:
        theirs = (arm == "interleaved") & asked.is_in([champion, canary.bundle])
    else:
        theirs = (arm == "canary") & (asked == canary.bundle)
    frames = (
        frame.filter(pl.col(TIME) >= canary.share_since, theirs | (arm == "champion") & (asked == champion))
        for frame in store.slates_after(canary.after_slate)
    )
    return pl.concat([pl.DataFrame(schema=SCHEMA), *frames])


def _guardrails(slates: pl.DataFrame, canary: Canary, config: CanaryConfig, now: int) -> dict[str, Guardrail]:
    return judge_guardrails(
        units(slates, config.guardrails, since=canary.share_since, now=now),
        config.guardrails,
        share=canary.share,
        alpha=config.test.alpha * (1 - OF_REWARD),
        rounds=config.rounds,
    )


def _harmed(guardrails: Mapping[str, Guardrail]) -> Judgement | None:
    reason = harm(guardrails)
    if reason is None:
        return None
    canary, champion = guardrails["failed"].units
    return Judgement(verdict="roll back", reason=reason, users={"canary": canary, "champion": champion}, interval={})


def rewards(slates: pl.DataFrame, acted: pl.DataFrame, config: CanaryConfig, now: int) -> pl.DataFrame:
    """One row a user whose time is over: `arm`, `reward`.

    A user who was shown both arms (the split changed under a worker that had not yet noticed) counts in the first.

    Args:
        slates: shown ones, columns of `store.slates`.
        acted: `request_id`, `bundle` and `acted`, the bundle's places acted on, of slates with any place.
        config: how.
        now: microseconds since 1970 UTC.
    """
    joined = _counted(slates, config, now).join(
        acted.group_by(REQUEST).agg(pl.col("acted").sum()), on=REQUEST, how="left"
    )
    return joined.group_by(USER).agg(pl.col("arm").first(), pl.col("acted").fill_null(0).mean().alias("reward"))


def margins(slates: pl.DataFrame, acted: pl.DataFrame, canary: str, config: CanaryConfig, now: int) -> list[int]:
    """Of each user of interleaved slates whose time is over: the canary's places acted on less the champion's.

    Arguments as in `rewards`; `canary` is its bundle's id.
    """
    drafted = _counted(slates, config, now).filter(pl.col("arm") == "interleaved")
    sign = pl.when(pl.col("bundle") == canary).then(1).otherwise(-1)
    of_slate = acted.group_by(REQUEST).agg((pl.col("acted").cast(pl.Int64) * sign).sum().alias("margin"))
    joined = drafted.join(of_slate, on=REQUEST, how="left").with_columns(pl.col("margin").fill_null(0))
    return joined.group_by(USER).agg(pl.col("margin").sum())["margin"].to_list()


def _counted(slates: pl.DataFrame, config: CanaryConfig, now: int) -> pl.DataFrame:
    """The slates of known users that count, once the user's time is over."""
    horizon, window = (round(s * _MICRO) for s in (config.horizon_seconds, config.attribution.window_seconds))
    first = pl.col(TIME).min().over(USER)
    return (
        slates.filter(pl.col(USER).is_not_null())
        .sort(TIME, "seq")
        .filter(
            pl.col(TIME) <= first + horizon,
            first + horizon + window <= now,
            pl.col("arm") == pl.col("arm").first().over(USER),
        )
    )


def _acted(store: Store, slates: pl.DataFrame, canary: Canary, config: CanaryConfig, now: int) -> pl.DataFrame:
    """How many places of each bundle on each of the slates were acted on."""
    schema = {REQUEST: pl.String(), "bundle": pl.String(), "acted": pl.UInt32()}
    if slates.is_empty():
        return pl.DataFrame(schema=schema)
    first = slates["seq"].min()
    assert isinstance(first, int)
    with tempfile.TemporaryDirectory() as scratch:
        found = attribute(
            events=store.events_after(canary.after_event),
            impressions=store.impressions_after(first - 1),
            config=config.attribution,
            now=now,
            scratch=Path(scratch),
        )
        acted = (pl.col("click") == 1) | (pl.col("purchase") == 1) | pl.col("rating").is_not_null()
        parts = [frame.group_by(REQUEST, "bundle").agg(acted.sum().alias("acted")) for frame in found.frames()]
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _arms(users: pl.DataFrame) -> Arms:
    return Arms(
        canary=Sums.of(users.filter(pl.col("arm") == "canary")["reward"].to_numpy()),
        champion=Sums.of(users.filter(pl.col("arm") == "champion")["reward"].to_numpy()),
    )
