"""Who did what that is hard to undo, or was refused it: one row each, and nothing in it about a person."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, insert, select

from recloop.store.connection import reading, writing
from recloop.store.schema import AUDIT

LOCAL = "command line"
"""The actor of whatever is done with direct access to the store."""


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A row of the audit.

    Attributes:
        seq: grows with time.
        timestamp: when, microseconds since 1970 UTC.
        actor: the id of an API key; ``anyone`` where the service asks for none; ``command line``.
        action: ``forget``, ``expire``, ``create key`` or ``revoke key``.
        outcome: ``done``, or ``refused`` for want of a scope.
        subject: digest of the erased person's id (see `store.erasures`), or id of the key; `None` if there is none.
    """

    seq: int
    timestamp: int
    actor: str
    action: str
    outcome: str
    subject: str | None


def note(connection: Connection, *, actor: str, action: str, outcome: str, subject: str | None, now: int) -> None:
    """Append a row in the caller's transaction, so that the deed and its record are committed together."""
    values = {"timestamp": now, "actor": actor, "action": action, "outcome": outcome, "subject": subject}
    connection.execute(insert(AUDIT), values)


def record(engine: Engine, *, actor: str, action: str, outcome: str, subject: str | None, now: int) -> None:
    """Append a row; see `Store.audit`."""
    with writing(engine) as connection:
        note(connection, actor=actor, action=action, outcome=outcome, subject=subject, now=now)


def audited(engine: Engine, limit: int) -> list[Audited]:
    """The last `limit` rows, newest first."""
    with reading(engine) as connection:
        rows = connection.execute(select(AUDIT).order_by(AUDIT.c.seq.desc()).limit(limit)).mappings().all()
    return [Audited(**row) for row in rows]
