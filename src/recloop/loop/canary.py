"""The review of a canary: what both arms were worth to their users, what follows from it, and doing so.

A user counts once, with the mean reward of their shown slates of the first `horizon_seconds` after their first one in
the present split, when the events' window after these is over. A slate's reward is how many of its places were acted
on. Slates for nobody are not counted: what is not known to be two people cannot count as two.

Guardrail: `empty`, the share of a user's slates that held nothing.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from recloop.columns import REQUEST, TIME, USER
from recloop.config import Config
from recloop.errors import StoreError
from recloop.loop import traffic
from recloop.loop.attribution import AttributionConfig, attribute
from recloop.loop.deployments import BUNDLES, promote
from recloop.loop.sequential import Arms, Judgement, SequentialConfig, Sums, judge
from recloop.store import Store
from recloop.store.slates import SCHEMA

_MICRO = 1_000_000
_DAY = 86_400 * _MICRO


class CanaryConfig(Config):
    """How canaries are reviewed.

    Attributes:
        horizon_seconds: which slates of a user count: those so soon after the first.
        attribution: which events count; its window is how long after a slate is waited for them.
        test: when to decide.
    """

    horizon_seconds: float = Field(default=86_400, ge=0)
    attribution: AttributionConfig = AttributionConfig()
    test: SequentialConfig = SequentialConfig()


@dataclass(frozen=True, kw_only=True)
class Review:
    """What a review found and did.

    Attributes:
        bundle: the canary's id.
        judgement: what the test says.
        message: what was done, for a person.
    """

    bundle: str
    judgement: Judgement
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
    canary = plan.canary
    if canary is None or plan.champion is None:
        return None
    arms = {"canary": canary.bundle, "champion": plan.champion.bundle}
    slates = _all(store.slates_after(0)).filter(
        pl.col(TIME) >= canary.share_since,
        pl.col("bundle") == pl.col("arm").replace_strict(arms, default=None, return_dtype=pl.String),
    )
    users = rewards(slates, _acted(store, slates, config, now), config, now)
    found = judge(
        _arms(users, "reward"), {"empty": _arms(users, "empty")}, config.test, days=(now - canary.share_since) / _DAY
    )
    record: dict[str, Any] = {"plan": asdict(plan), "config": config.model_dump(mode="json"), **asdict(found)}
    store.decide("canary", found.verdict, record)
    if found.verdict == "go on":
        return Review(bundle=canary.bundle, judgement=found, message=f"The canary goes on. {found.reason}")
    if store.traffic() != plan:
        raise StoreError("The traffic changed during the review; review the canary again.")
    if found.verdict == "promote":
        done = promote(root, store, reason=found.reason, bundle_folder=root / BUNDLES / canary.bundle)
    else:
        done = traffic.end(root, store, bundle=canary.bundle, reason=found.reason)
    return Review(bundle=canary.bundle, judgement=found, message=f"{done.message} {found.reason}")


def rewards(slates: pl.DataFrame, acted: pl.DataFrame, config: CanaryConfig, now: int) -> pl.DataFrame:
    """One row a user whose time is over: `arm`, `reward`, `empty`.

    A user who was shown both arms (the split changed under a worker that had not yet noticed) counts in the first.

    Args:
        slates: shown ones, columns of `store.slates`.
        acted: `request_id`, `acted` (places acted on) and `places` of slates that hold any.
        config: how.
        now: microseconds since 1970 UTC.
    """
    horizon, window = (round(s * _MICRO) for s in (config.horizon_seconds, config.attribution.window_seconds))
    first = pl.col(TIME).min().over(USER)
    known = slates.filter(pl.col(USER).is_not_null()).sort(TIME, "seq")
    counted = known.filter(
        pl.col(TIME) <= first + horizon,
        first + horizon + window <= now,
        pl.col("arm") == pl.col("arm").first().over(USER),
    )
    joined = counted.join(acted, on=REQUEST, how="left").with_columns(pl.col("acted", "places").fill_null(0))
    return joined.group_by(USER).agg(
        pl.col("arm").first(),
        pl.col("acted").mean().alias("reward"),
        (pl.col("places") == 0).mean().alias("empty"),
    )


def _acted(store: Store, slates: pl.DataFrame, config: CanaryConfig, now: int) -> pl.DataFrame:
    """How many places each of the slates held, and how many were acted on."""
    schema = {REQUEST: pl.String(), "acted": pl.UInt32(), "places": pl.UInt32()}
    if slates.is_empty():
        return pl.DataFrame(schema=schema)
    first = slates["seq"].min()
    assert isinstance(first, int)
    with tempfile.TemporaryDirectory() as scratch:
        found = attribute(
            events=store.events_after(0),
            impressions=store.impressions_after(first - 1),
            config=config.attribution,
            now=now,
            scratch=Path(scratch),
        )
        acted = (pl.col("click") == 1) | (pl.col("purchase") == 1) | pl.col("rating").is_not_null()
        parts = [
            frame.group_by(REQUEST).agg(acted.sum().alias("acted"), pl.len().alias("places"))
            for frame in found.frames()
        ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _arms(users: pl.DataFrame, name: str) -> Arms:
    return Arms(
        canary=Sums.of(users.filter(pl.col("arm") == "canary")[name].to_numpy()),
        champion=Sums.of(users.filter(pl.col("arm") == "champion")[name].to_numpy()),
    )


def _all(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=SCHEMA), *frames])
