"""The store as one object."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl
from sqlalchemy import Engine

from recloop.clock import now
from recloop.store import audit, connection, counts, erasures, events, keys, records, slates, traffic
from recloop.store.audit import LOCAL, Audited
from recloop.store.erasures import Erased, Erasure
from recloop.store.events import Added, Event
from recloop.store.keys import ApiKey
from recloop.store.records import Action, Decision, Deployment
from recloop.store.slates import Gap, Slate
from recloop.store.traffic import TrafficPlan

URL_VARIABLE = "RECLOOP_DATABASE_URL"
DEFAULT_FILE = "recloop.sqlite"


class Store:
    """Append-only tables of events, slates, deployments and decisions, shared by all processes of the loop.

    Only `erase` and `expire` delete, and they leave a record.

    Objects of this class may be used by several threads. After a fork, open another. Every method raises `StoreError`
    when the database cannot be reached, is damaged, or is held by another process for too long, and writes nothing.

    Args:
        engine: a connected database, from `open`.
        clock: the time now, microseconds since 1970 UTC.
    """

    def __init__(self, engine: Engine, clock: Callable[[], int] = now) -> None:
        self._engine = engine
        self._clock = clock

    @classmethod
    def open(cls, url: str | None = None, *, root: Path | None = None, clock: Callable[[], int] = now) -> Self:
        """Connect, and make the tables if they are missing.

        Args:
            url: of an SQLite file or a PostgreSQL database; by default that of the environment's
                `RECLOOP_DATABASE_URL`, or else of the SQLite file `recloop.sqlite` in `root`.
            root: the project's root; by default the working directory.
            clock: the time now, microseconds since 1970 UTC.

        Raises:
            StoreError: the URL is not usable, or the database cannot be reached or is damaged.
        """
        default = f"sqlite:///{(root or Path()) / DEFAULT_FILE}"
        return cls(connection.connect(url or os.environ.get(URL_VARIABLE) or default), clock)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the store is, without its password."""
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    def ping(self) -> None:
        """Return if the database answers."""
        connection.ping(self._engine)

    def add_events(self, batch: Sequence[Event]) -> Added:
        """Store a batch of events in one transaction, committed when this returns.

        An event whose id is stored already, or comes twice in the batch, counts as a duplicate if its content is the
        same and is a conflict otherwise; neither changes what is stored. What an erased user did before the erasure is
        not stored again. Any number of processes may add at once.
        """
        return self.add_batches([batch])[0]

    def add_batches(self, batches: Sequence[Sequence[Event]]) -> list[Added]:
        """Store several batches in one transaction, as `add_events` would one after the other."""
        return events.add(self._engine, batches, self._clock())

    def events_after(self, seq: int, limit: int = 100_000) -> Iterator[pl.DataFrame]:
        """Events with a greater `seq`, in that order, in frames of at most `limit` rows, up to those of now.

        Columns: `events.SCHEMA`. No event that is committed later has a `seq` below the greatest that was given.
        """
        return events.after(self._engine, seq, limit)

    def last_event_seq(self) -> int:
        """The greatest `seq` below which no further event can appear; 0 if there is none."""
        return events.last_seq(self._engine)

    def count_events(self, after: int = 0) -> int:
        """How many events are stored with a `seq` greater than `after`."""
        return counts.after(self._engine, after) if after else counts.count(self._engine)

    def add_slates(self, batch: Sequence[Slate]) -> int:
        """Store slates in one transaction, committed when this returns; how many were new.

        A slate whose `request_id` is stored already, or came before in the batch, is left as it is. Any number of
        processes may add at once.
        """
        return slates.add(self._engine, batch)

    def slates_after(self, seq: int, limit: int = 100_000) -> Iterator[pl.DataFrame]:
        """Slates with a greater `seq`, in that order, in frames of at most `limit` rows, up to those of now.

        Columns: `slates.SCHEMA`. No slate that is committed later has a `seq` below the greatest that was given.
        """
        return slates.after(self._engine, seq, limit)

    def impressions_after(self, seq: int, limit: int = 10_000) -> Iterator[pl.DataFrame]:
        """Impressions of the slates with a greater `seq`, in their order, in frames of at most `limit` slates.

        Columns: `slates.PLACES`. Slates without places, and those of people who were erased, are left out.
        """
        return slates.impressions_after(self._engine, seq, limit)

    def last_slate_seq(self) -> int:
        """The greatest `seq` below which no further slate can appear; 0 if there is none."""
        return slates.last_seq(self._engine)

    def slate_gaps(self, since: int | None = None) -> list[Gap]:
        """Workers that lost slates, and how many: their serial numbers have gaps before their last stored slate.

        Args:
            since: look at slates served from this moment on, microseconds since 1970 UTC. Slates that were deleted
                on purpose look lost; name the moment up to which that was done.
        """
        return slates.gaps(self._engine, since)

    def deploy(self, action: Action, bundle: str, model: str, reason: str, *, share: float | None = None) -> Deployment:
        """Put the bundle of this id in charge, or change its part in the traffic; `share` is that of a canary."""
        return records.deploy(
            self._engine,
            action=action,
            bundle=bundle,
            model=model,
            reason=reason,
            timestamp=self._clock(),
            share=share,
        )

    def deployments(self) -> list[Deployment]:
        """All deployments, oldest first."""
        return records.deployments(self._engine)

    def champion(self) -> Deployment | None:
        """The deployment now in force, if any; its `bundle` is in charge."""
        return records.champion(self._engine)

    def traffic(self) -> TrafficPlan:
        """Which bundle serves whom."""
        return traffic.plan(self.deployments())

    def decide(self, kind: str, verdict: str, record: Mapping[str, Any]) -> Decision:
        """Record a decision with everything that led to it."""
        return records.decide(self._engine, kind=kind, verdict=verdict, record=record, timestamp=self._clock())

    def decide_if(
        self, kind: str, verdict: str, record: Mapping[str, Any], condition: Callable[[list[Decision]], bool]
    ) -> Decision | None:
        """Record a decision if `condition` holds of the last ones of its kind, newest first; `None` if it does not.

        Of several at once each sees what those before it have recorded.
        """
        return records.decide_if(
            self._engine,
            kind=kind,
            verdict=verdict,
            record=record,
            timestamp=self._clock(),
            condition=condition,
        )

    def decisions(self, limit: int = 20, kind: str | None = None) -> list[Decision]:
        """The last decisions, newest first; those of one `kind` alone if it is given."""
        return records.decisions(self._engine, limit, kind)

    def erase(self, user_id: str, asked_by: str, *, actor: str = LOCAL) -> Erasure:
        """Take a person out of the store, in one transaction: their events, and what they were shown.

        Their slates stay as rows for nobody without places, so that `slate_gaps` does not take them for lost. From now
        on `add_events` and `add_slates` take nothing of theirs that happened before; later events under the same id
        are those of somebody new. With SQLite the deleted rows are overwritten; PostgreSQL overwrites them with VACUUM.
        The same transaction leaves a row in the audit, under the name of `actor`, with the erasure's digest.
        """
        return erasures.erase(self._engine, user_id, asked_by, self._clock(), actor)

    def expire(self, *, before: int, held: int, asked_by: str) -> Erasure:
        """Delete the events that happened before a moment, in one transaction.

        Args:
            before: microseconds since 1970 UTC.
            held: the last `seq` that the data hold; later events stay, however old.
            asked_by: who asked.
        """
        return erasures.expire(self._engine, before=before, held=held, asked_by=asked_by, now=self._clock())

    def note_erased_data(self, *, digest: str, until: int, asked_by: str, counts: Mapping[str, int]) -> Erasure:
        """Record that the rows of the person with this digest left the data."""
        return erasures.note(
            self._engine, digest=digest, until=until, asked_by=asked_by, counts=counts, now=self._clock()
        )

    def erasures(self) -> list[Erasure]:
        """Everything that left on purpose, oldest first."""
        return erasures.erasures(self._engine)

    def erased(self, known: Erased | None = None) -> Erased:
        """Who was erased; `known` itself, read earlier, if nothing has come since."""
        return erasures.erased(self._engine, known or Erased(moments={}))

    def create_key(
        self, name: str, scopes: Sequence[str], *, rate: float | None = None, burst: int | None = None
    ) -> tuple[ApiKey, str]:
        """Make an API key; the second value is the key itself, which is kept nowhere and cannot be had again.

        Args:
            name: whose it is or what for; no personal data.
            scopes: what it may do, some of `keys.SCOPES`; none implies another.
            rate: requests a second that it may make of each worker in the long run; `None` for no limit.
            burst: requests at once after a pause; by default the whole requests of one second, at least 1.

        Raises:
            ConfigError: a scope is unknown or none is given, the name is empty, or a limit is not positive.
        """
        return keys.create(self._engine, name, scopes, rate=rate, burst=burst, now=self._clock())

    def revoke_key(self, key_id: str) -> ApiKey:
        """Let a key count no longer; one that was revoked before stays as it is.

        Raises:
            ConfigError: there is no key of this id.
        """
        return keys.revoke(self._engine, key_id, self._clock())

    def api_keys(self) -> list[ApiKey]:
        """All keys, oldest first, revoked ones among them."""
        return keys.api_keys(self._engine)

    def audit(self, *, actor: str, action: str, outcome: str, subject: str | None = None) -> None:
        """Record that somebody did something, or was refused it; nothing of it may be personal data."""
        audit.record(self._engine, actor=actor, action=action, outcome=outcome, subject=subject, now=self._clock())

    def audited(self, limit: int = 100) -> list[Audited]:
        """The last rows of the audit, newest first."""
        return audit.audited(self._engine, limit)
