"""The two short histories that an operator reads: which bundle was put where when, and what was decided why."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Engine, func, insert, select

from recloop.store import order
from recloop.store.connection import reading, writing
from recloop.store.schema import DECISIONS, DEPLOYMENTS, EVENTS, SLATES

Action = Literal["promote", "rollback", "canary", "interleave", "shadow", "end"]
_TRIALS = ("canary", "interleave")
_DEPLOY_LOCK = 7_301_003
_DECIDE_LOCK = 7_301_005
_RECENT = 20


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A bundle was put in charge, or its part in the traffic changed otherwise.

    Attributes:
        seq: grows with time.
        timestamp: when, microseconds since 1970 UTC.
        action: ``promote`` (a bundle is chosen), ``rollback`` (the one before is in charge again), ``canary`` (a
            share of the users is served by it), ``interleave`` (a share of the users gets slates of it and the
            champion), ``shadow`` (it scores and is not shown), ``end`` (nothing of that any longer); see
            `store.traffic`.
        bundle: which bundle.
        model: its model's name.
        previous: id of the bundle that was in charge, if any.
        reason: one sentence.
        share: of the users, for a canary.
        after_slate, after_event: for a canary, the greatest `seq` of slates and events then: what is served and done
            under it has greater ones. `None` in rows of an earlier version.
    """

    seq: int
    timestamp: int
    action: str
    bundle: str
    model: str
    previous: str | None
    reason: str
    share: float | None = None
    after_slate: int | None = None
    after_event: int | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Something was decided by rule: by the gate, the drift monitor ...

    Attributes:
        seq: grows with time.
        timestamp: when, microseconds since 1970 UTC.
        kind: who decided: gate, monitor, retrain ...
        verdict: in one word.
        record: all of it, as JSON values.
    """

    seq: int
    timestamp: int
    kind: str
    verdict: str
    record: dict[str, Any]


def deploy(
    engine: Engine,
    *,
    action: Action,
    bundle: str,
    model: str,
    reason: str,
    timestamp: int,
    share: float | None = None,
) -> Deployment:
    """Append a deployment; `previous` is what was in charge before, also when several deploy at once."""
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_DEPLOY_LOCK)))
        last = _champion(connection)
        values: dict[str, Any] = {
            "timestamp": timestamp,
            "action": action,
            "bundle": bundle,
            "model": model,
            "previous": last.bundle if last else None,
            "reason": reason,
            "share": share,
            "after_slate": order.greatest(connection, SLATES) if action in _TRIALS else None,
            "after_event": order.greatest(connection, EVENTS) if action in _TRIALS else None,
        }
        seq = connection.execute(insert(DEPLOYMENTS).returning(DEPLOYMENTS.c.seq), values).scalar_one()
    return Deployment(seq=seq, **values)


def deployments(engine: Engine) -> list[Deployment]:
    """All deployments, oldest first."""
    with reading(engine) as connection:
        return _deployments(connection)


def is_change(row: Deployment, promoted: AbstractSet[str]) -> bool:
    """Whether a row puts its bundle in charge; `promoted` are the bundles that were before."""
    return row.action == "promote" or (row.action == "rollback" and row.bundle in promoted)


def changes(rows: Iterable[Deployment]) -> list[Deployment]:
    """Of deployments, oldest first, those that put a bundle in charge."""
    found, promoted = list[Deployment](), set[str]()
    for row in rows:
        if is_change(row, promoted):
            found.append(row)
            promoted.add(row.bundle)
    return found


def champion(engine: Engine) -> Deployment | None:
    """The deployment that put the bundle now in charge there."""
    with reading(engine) as connection:
        return _champion(connection)


def decide(engine: Engine, *, kind: str, verdict: str, record: Mapping[str, Any], timestamp: int) -> Decision:
    """Append a decision."""
    with writing(engine) as connection:
        return _decide(connection, kind, verdict, record, timestamp)


def decide_if(
    engine: Engine,
    *,
    kind: str,
    verdict: str,
    record: Mapping[str, Any],
    timestamp: int,
    condition: Callable[[list[Decision]], bool],
) -> Decision | None:
    """Append a decision if nothing speaks against it; see `Store.decide_if`."""
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_DECIDE_LOCK)))
        if not condition(_decisions(connection, _RECENT, kind)):
            return None
        return _decide(connection, kind, verdict, record, timestamp)


def decisions(engine: Engine, limit: int, kind: str | None) -> list[Decision]:
    """The last `limit` decisions, newest first; those of one `kind` alone if it is given."""
    with reading(engine) as connection:
        return _decisions(connection, limit, kind)


def _decide(connection: Connection, kind: str, verdict: str, record: Mapping[str, Any], timestamp: int) -> Decision:
    values: dict[str, Any] = {"timestamp": timestamp, "kind": kind, "verdict": verdict, "record": dict(record)}
    seq = connection.execute(insert(DECISIONS).returning(DECISIONS.c.seq), values).scalar_one()
    return Decision(seq=seq, **values)


def _decisions(connection: Connection, limit: int, kind: str | None) -> list[Decision]:
    query = select(DECISIONS).order_by(DECISIONS.c.seq.desc()).limit(limit)
    rows = connection.execute(query if kind is None else query.where(DECISIONS.c.kind == kind)).mappings().all()
    return [Decision(**row) for row in rows]


def _champion(connection: Connection) -> Deployment | None:
    last = changes(_deployments(connection))[-1:]
    return last[0] if last else None


def _deployments(connection: Connection) -> list[Deployment]:
    rows = connection.execute(select(DEPLOYMENTS).order_by(DEPLOYMENTS.c.seq)).mappings().all()
    return [Deployment(**row) for row in rows]
