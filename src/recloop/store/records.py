"""The two short histories that an operator reads: which bundle was put in charge when, and what was decided why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Engine, func, insert, select

from recloop.store.connection import reading, writing
from recloop.store.schema import DECISIONS, DEPLOYMENTS

Action = Literal["promote", "rollback"]
_DEPLOY_LOCK = 7_301_003


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A bundle was put in charge.

    Attributes:
        seq: grows with time.
        timestamp: when, microseconds since 1970 UTC.
        action: ``promote`` (a bundle is chosen) or ``rollback`` (the one before is in charge again).
        bundle: id of the bundle in charge from now on.
        model: its model's name.
        previous: id of the bundle that was in charge, if any.
        reason: one sentence.
    """

    seq: int
    timestamp: int
    action: str
    bundle: str
    model: str
    previous: str | None
    reason: str


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


def deploy(engine: Engine, *, action: Action, bundle: str, model: str, reason: str, timestamp: int) -> Deployment:
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
        }
        seq = connection.execute(insert(DEPLOYMENTS).returning(DEPLOYMENTS.c.seq), values).scalar_one()
    return Deployment(seq=seq, **values)


def deployments(engine: Engine) -> list[Deployment]:
    """All deployments, oldest first."""
    with reading(engine) as connection:
        rows = connection.execute(select(DEPLOYMENTS).order_by(DEPLOYMENTS.c.seq)).mappings().all()
    return [Deployment(**row) for row in rows]


def champion(engine: Engine) -> Deployment | None:
    """The deployment that put the bundle now in charge there."""
    with reading(engine) as connection:
        return _champion(connection)


def decide(engine: Engine, *, kind: str, verdict: str, record: Mapping[str, Any], timestamp: int) -> Decision:
    """Append a decision."""
    values: dict[str, Any] = {"timestamp": timestamp, "kind": kind, "verdict": verdict, "record": dict(record)}
    with writing(engine) as connection:
        seq = connection.execute(insert(DECISIONS).returning(DECISIONS.c.seq), values).scalar_one()
    return Decision(seq=seq, **values)


def decisions(engine: Engine, limit: int, kind: str | None) -> list[Decision]:
    """The last `limit` decisions, newest first; those of one `kind` alone if it is given."""
    query = select(DECISIONS).order_by(DECISIONS.c.seq.desc()).limit(limit)
    with reading(engine) as connection:
        rows = connection.execute(query if kind is None else query.where(DECISIONS.c.kind == kind)).mappings().all()
    return [Decision(**row) for row in rows]


def _champion(connection: Connection) -> Deployment | None:
    row = connection.execute(select(DEPLOYMENTS).order_by(DEPLOYMENTS.c.seq.desc()).limit(1)).mappings().first()
    return Deployment(**row) if row else None
