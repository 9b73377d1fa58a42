"""Slates: what was shown to whom, and how likely that was. A slate is one row; its places lie in it as JSON arrays.

A writer numbers its slates from 0, those too that never reach the store. So what a writer lost before its last stored
slate can be counted afterwards (`gaps`); what it lost after that, when it was killed, leaves no trace here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

import orjson
import polars as pl
from sqlalchemy import Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite

from recloop.errors import RefusedValueError
from recloop.store import erasures, order
from recloop.store.connection import reading, writing
from recloop.store.schema import SLATES

Arm = Literal["champion", "canary", "shadow", "interleaved"]

SCHEMA = {
    "seq": pl.Int64(),
    "request_id": pl.String(),
    "user_id": pl.String(),
    "timestamp": pl.Int64(),
    "bundle": pl.String(),
    "policy": pl.String(),
    "arm": pl.String(),
    "candidates": pl.String(),
    "n_candidates": pl.Int32(),
    "seed": pl.Int64(),
    "places": pl.Int32(),
    "took": pl.Int64(),
    "fallback": pl.String(),
    "failed": pl.String(),
    "worker": pl.String(),
    "serial": pl.Int64(),
}
"""Columns of a frame of slates; times are microseconds since 1970 UTC."""

PLACES = {
    "seq": pl.Int64(),
    "request_id": pl.String(),
    "position": pl.Int32(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "score": pl.Float64(),
    "propensity": pl.Float64(),
    "policy": pl.String(),
    "bundle": pl.String(),
    "arm": pl.String(),
    "timestamp": pl.Int64(),
}
"""Columns of a frame of impressions; `seq` is that of their slate."""

_SHOWN = {
    **{name: SCHEMA[name] for name in ("seq", "request_id", "user_id", "policy", "bundle", "arm", "timestamp")},
    **{name: pl.String() for name in ("items", "scores", "propensities", "bundles")},
}
"""What the places of a slate are made of; `propensities` is null where all are 1, `bundles` where none differs."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One answer to one request, as it was served. Shape: K positions.

    Attributes:
        request_id: unique. What a shadow made for a request, which is not shown, has an id of its own.
        timestamp: when it was served, microseconds since 1970 UTC.
        bundle: id of the bundle that scored.
        policy: what made the slate of the scores.
        items: K ids, the first place first.
        scores: K numbers, the model's scores.
        propensities: K probabilities that the policy shows this item at this place, `None` for one that is not known;
            by default all 1, as where nothing is left to chance.
        arm: why this bundle was asked; the slates of a ``shadow`` are not shown, and an ``interleaved`` one is drafted
            by two bundles and comes from the policy of neither.
        user_id: to whom, if known.
        candidates: digest of what the policy could choose from, if known.
        n_candidates: how many those were, if known.
        seed: of the policy's draws, if it drew.
        took: how long the answer took, microseconds, if known.
        fallback: why no history was scored, where none was; see `serving.asking`.
        failed: id of the bundle that was asked first and gave no answer. `bundle` was asked in its place; where that is
            the same or failed too, the slate is empty.
        bundles: K ids of the bundles whose pick each place is, where they differ; by default `bundle` for all.
    """

    request_id: str
    timestamp: int
    bundle: str
    policy: str
    items: Sequence[str]
    scores: Sequence[float]
    propensities: Sequence[float | None] | None = None
    arm: Arm = "champion"
    user_id: str | None = None
    candidates: str | None = None
    n_candidates: int | None = None
    seed: int | None = None
    took: int | None = None
    fallback: str | None = None
    failed: str | None = None
    bundles: Sequence[str] | None = None

    @property
    def places(self) -> int:
        """How many items were served."""
        return len(self.items)

    @property
    def chances(self) -> Sequence[float | None]:
        """`propensities`, all 1 by default."""
        return [1.0] * len(self.items) if self.propensities is None else self.propensities


@dataclass(frozen=True, kw_only=True)
class Slate(Exposure):
    """An exposure with its number among all that a worker made.

    Attributes:
        worker: who wrote it: one process, from its start to its end.
        serial: its number among the slates of this worker, from 0.
    """

    worker: str
    serial: int


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Slates that a worker numbered, but that are not stored, though a later one is.

    Attributes:
        worker: who lost them.
        missing: how many.
        stored: how many of the worker's slates are stored.
        first, last: when the first and the last of these were served, microseconds since 1970 UTC.
    """

    worker: str
    missing: int
    stored: int
    first: int
    last: int


def add(engine: Engine, slates: Sequence[Slate]) -> int:
    """Store `slates` in one transaction; see `Store.add_slates`."""
    first: dict[str, Slate] = {}
    for slate in slates:
        assert len(slate.items) == len(slate.scores) == len(slate.chances), "one score and propensity a place"
        first.setdefault(slate.request_id, slate)
    if not first:
        return 0
    dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
    new_only = dialect.insert(SLATES).on_conflict_do_nothing(index_elements=["request_id"])
    with writing(engine) as connection:
        order.announce(connection, SLATES)
        until = erasures.until(connection, (slate.user_id for slate in slates if slate.user_id is not None))
        first = {request_id: _without_erased(slate, until) for request_id, slate in first.items()}
        # By id, so that two transactions never wait in a ring.
        rows = [_row(slate) for _, slate in sorted(first.items())]
        return len(connection.execute(new_only.returning(SLATES.c.seq), rows).fetchall())


def after(engine: Engine, seq: int, limit: int) -> Iterator[pl.DataFrame]:
    """Frames of slates in the order of `seq`; see `Store.slates_after`."""
    return _frames(engine, seq, limit, SCHEMA)


def impressions_after(engine: Engine, seq: int, limit: int) -> Iterator[pl.DataFrame]:
    """Frames of impressions in the order of their slates; see `Store.impressions_after`."""
    for frame in _frames(engine, seq, limit, _SHOWN):
        places = _places(frame)
        if not places.is_empty():
            yield places


def last_seq(engine: Engine) -> int:
    """The greatest `seq` below which no further slate can appear, 0 if there is none."""
    return order.last_seq(engine, SLATES)


def gaps(engine: Engine, since: int | None) -> list[Gap]:
    """What each worker lost; see `Store.slate_gaps`."""
    served, serial = SLATES.c.timestamp, SLATES.c.serial
    begin = 0 if since is None else func.min(serial)
    missing = (func.max(serial) + 1 - begin - func.count()).label("missing")
    query = (
        select(SLATES.c.worker, missing, func.count().label("stored"), func.min(served), func.max(served))
        .group_by(SLATES.c.worker)
        .having(missing > 0)
        .order_by(func.min(served), SLATES.c.worker)
    )
    if since is not None:
        query = query.where(served >= since)
    with reading(engine) as connection:
        rows = connection.execute(query).fetchall()
    names = ("worker", "missing", "stored", "first", "last")
    return [Gap(**dict(zip(names, row, strict=True))) for row in rows]


def _without_erased(slate: Slate, until: Mapping[str, int]) -> Slate:
    """The slate, or what an erasure leaves of it: the row, so that it does not look lost, without user and places."""
    if slate.user_id is None or slate.user_id not in until or slate.timestamp > until[slate.user_id]:
        return slate
    return replace(slate, user_id=None, items=(), scores=(), propensities=(), bundles=None)


def _row(slate: Slate) -> dict[str, Any]:
    try:
        finite = all(map(isfinite, slate.scores))
    except TypeError:
        finite = False
    if not finite:
        raise RefusedValueError(
            f"The store refuses a value (a score of the slate of request {slate.request_id} is no finite number); "
            "correct it and write again."
        )
    certain = all(chance == 1 for chance in slate.chances)
    return {name: getattr(slate, name) for name in SCHEMA if name != "seq"} | {
        "items": _json(slate.items),
        "scores": _json(slate.scores),
        "propensities": None if certain else _json(slate.chances),
        "bundles": None if slate.bundles is None else _json(slate.bundles),
    }


def _json(values: Sequence[Any]) -> str:
    return orjson.dumps(list(values)).decode()


def _places(slates: pl.DataFrame) -> pl.DataFrame:
    """One row a place, columns `PLACES`; of slates that were erased, none."""
    count = pl.col("item_id").list.len()
    read = slates.with_columns(
        pl.col("items").str.json_decode(pl.List(pl.String)).alias("item_id"),
        pl.col("scores").str.json_decode(pl.List(pl.Float64)).alias("score"),
        pl.col("propensities").str.json_decode(pl.List(pl.Float64)).alias("propensity"),
        pl.col("bundles").str.json_decode(pl.List(pl.String)),
    ).filter(count > 0)
    whole = read.with_columns(
        pl.int_ranges(0, count, dtype=pl.Int32).alias("position"),
        pl.col("propensity").fill_null(pl.lit(1.0).repeat_by(count)),
        pl.col("bundles").fill_null(pl.col("bundle").repeat_by(count)).alias("bundle"),
    )
    places = whole.explode("position", "item_id", "score", "propensity", "bundle")
    return places.select(pl.col(name).cast(kind) for name, kind in PLACES.items())


def _frames(engine: Engine, seq: int, limit: int, schema: dict[str, Any]) -> Iterator[pl.DataFrame]:
    """These columns of the slates after `seq`, in its order."""
    assert limit > 0
    last, columns = order.last_seq(engine, SLATES), [SLATES.c[name] for name in schema]
    while seq < last:
        query = select(*columns).where(SLATES.c.seq > seq, SLATES.c.seq <= last).order_by(SLATES.c.seq).limit(limit)
        with reading(engine) as connection:
            rows = connection.execute(query).fetchall()
        if not rows:
            return
        frame = pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")
        seq = frame["seq"][-1]
        yield frame
