"""What left the store on purpose: people who asked to be forgotten, and events that are too old.

Who was erased is kept as a digest, the hexadecimal HMAC-SHA256 of the user id under a random key of this store (32
bytes, made with the first erasure). It answers "was this id erased?" and nothing else; who holds both key and digests
can still try ids one by one.

An erasure counts until a moment: that of the erasure, or of the person's newest record where that is later. What
carries the id and happened until then belongs to the person who was erased, wherever it turns up; what happened later
belongs to somebody new.
"""

import hmac
import secrets
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from recloop.store import audit, order
from recloop.store.connection import reading, writing
from recloop.store.schema import ERASURES, EVENTS, KEYS, SLATES

_KEY = "erasures"
_LOOKUP = 10_000
_OF_A_PERSON = ("user_id", "items", "scores", "propensities", "bundles")
"""What leaves a slate when its person is erased."""


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """Rows left on purpose.

    Attributes:
        seq: grows with time.
        timestamp: when, microseconds since 1970 UTC.
        place: ``store``, ``data``, or ``age``: events left the store because they were old.
        digest: of the user's id; `None` for ``age``.
        until: rows that happened up to this moment left, microseconds since 1970 UTC.
        asked_by: who asked.
        last_event: the greatest `seq` that an event had had by then; 0 unless events left.
        counts: table -> rows that left or, for ``slates``, that lost their user.
    """

    seq: int
    timestamp: int
    place: str
    digest: str | None
    until: int
    asked_by: str
    last_event: int
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Erased:
    """Who was erased.

    Attributes:
        seq: the last erasure that is counted in.
        key: of the digests; empty if nobody was erased so far.
        moments: digest -> what happened until this moment is erased, microseconds since 1970 UTC.
    """

    seq: int = 0
    key: bytes = b""
    moments: Mapping[str, int]

    def until(self, user_id: str) -> int | None:
        """What this user did until this moment is erased; `None` if they never were."""
        return self.moments.get(digest(self.key, user_id)) if self.moments else None


def digest(key: bytes, user_id: str) -> str:
    """HMAC-SHA256 of the id's UTF-8 bytes, 64 hexadecimal digits."""
    return hmac.digest(key, user_id.encode(), "sha256").hex()


def erase(engine: Engine, user_id: str, asked_by: str, now: int, actor: str) -> Erasure:
    """Take a person out of the tables, in one transaction; see `Store.erase`."""
    with writing(engine) as connection:
        order.hold(connection, EVENTS)
        order.hold(connection, SLATES)
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
        newest = [_newest(connection, table, user_id) for table in (EVENTS, SLATES)]
        last_event = order.greatest(connection, EVENTS)
        theirs, nothing = SLATES.c.user_id == user_id, dict.fromkeys(_OF_A_PERSON)
        shown: Select[tuple[int]] = select(func.coalesce(func.sum(SLATES.c.places), 0)).where(theirs)
        counts = {
            "events": connection.execute(delete(EVENTS).where(EVENTS.c.user_id == user_id)).rowcount,
            "impressions": int(connection.execute(shown).scalar_one()),
            "slates": connection.execute(update(SLATES).where(theirs).values(nothing)).rowcount,
        }
        erasure = _record(
            connection,
            timestamp=now,
            place="store",
            digest=digest(_made_key(connection), user_id),
            until=max(now, *newest),
            asked_by=asked_by,
            last_event=last_event,
            counts=counts,
        )
        audit.note(connection, actor=actor, action="forget", outcome="done", subject=erasure.digest, now=now)
    _empty_log(engine)
    return erasure


def expire(engine: Engine, *, before: int, held: int, asked_by: str, now: int) -> Erasure:
    """Delete old events, in one transaction; see `Store.expire`."""
    old = (EVENTS.c.timestamp < before) & (EVENTS.c.seq <= held)
    with writing(engine) as connection:
        order.hold(connection, EVENTS)
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
        last_event = order.greatest(connection, EVENTS)
        erasure = _record(
            connection,
            timestamp=now,
            place="age",
            digest=None,
            until=before,
            asked_by=asked_by,
            last_event=last_event,
            counts={"events": connection.execute(delete(EVENTS).where(old)).rowcount},
        )
        audit.note(connection, actor=audit.LOCAL, action="expire", outcome="done", subject=None, now=now)
    _empty_log(engine)
    return erasure


def note(engine: Engine, *, digest: str, until: int, asked_by: str, counts: Mapping[str, int], now: int) -> Erasure:
    """Record that a person's rows left the data; see `Store.note_erased_data`."""
    with writing(engine) as connection:
        return _record(
            connection,
            timestamp=now,
            place="data",
            digest=digest,
            until=until,
            asked_by=asked_by,
            last_event=0,
            counts=dict(counts),
        )


def erasures(engine: Engine) -> list[Erasure]:
    """All erasures, oldest first."""
    with reading(engine) as connection:
        rows = connection.execute(select(ERASURES).order_by(ERASURES.c.seq)).mappings().all()
    return [Erasure(**row) for row in rows]


def erased(engine: Engine, known: Erased) -> Erased:
    """Who was erased; `known` itself if nothing has come since."""
    with reading(engine) as connection:
        last = connection.execute(select(func.coalesce(func.max(ERASURES.c.seq), 0))).scalar_one()
        if last <= known.seq:
            return known
        key = _key(connection)
        people = (ERASURES.c.digest.is_not(None)) & (ERASURES.c.seq <= last)
        query = select(ERASURES.c.digest, func.max(ERASURES.c.until)).where(people).group_by(ERASURES.c.digest)
        moments: dict[str, int] = dict(connection.execute(query).tuples().all())
    return Erased(seq=last, key=key, moments=moments)


def until(connection: Connection, user_ids: Iterable[str]) -> dict[str, int]:
    """Those of the ids that were erased, each with the moment until which; the caller's transaction is used."""
    key = _key(connection)
    if not key:
        return {}
    ids = {digest(key, user_id): user_id for user_id in set(user_ids)}
    digests, found = sorted(ids), dict[str, int]()
    for start in range(0, len(digests), _LOOKUP):
        some = ERASURES.c.digest.in_(digests[start : start + _LOOKUP])
        query = select(ERASURES.c.digest, func.max(ERASURES.c.until)).where(some).group_by(ERASURES.c.digest)
        found |= {ids[name]: moment for name, moment in connection.execute(query).tuples()}
    return found


def _newest(connection: Connection, table: Table, user_id: str) -> int:
    """When the newest row of a person happened; 0 if there is none."""
    newest: ColumnElement[int] = func.coalesce(func.max(table.c.timestamp), 0)
    return connection.execute(select(newest).where(table.c.user_id == user_id)).scalar_one()


def _record(connection: Connection, **values: Any) -> Erasure:
    seq = connection.execute(insert(ERASURES).returning(ERASURES.c.seq), values).scalar_one()
    return Erasure(seq=seq, **values)


def _key(connection: Connection) -> bytes:
    """The key of the digests; empty if there is none yet."""
    value = connection.execute(select(KEYS.c.value).where(KEYS.c.name == _KEY)).scalar_one_or_none()
    return bytes.fromhex(value or "")


def _made_key(connection: Connection) -> bytes:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    new = dialect.insert(KEYS).on_conflict_do_nothing(index_elements=["name"])
    connection.execute(new, {"name": _KEY, "value": secrets.token_hex(32)})
    return _key(connection)


def _empty_log(engine: Engine) -> None:
    """Bring SQLite's write-ahead log, which still holds the deleted rows, into the file, as far as readers allow."""
    if engine.dialect.name == "sqlite":
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
