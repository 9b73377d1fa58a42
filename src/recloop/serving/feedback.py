"""Feedback: each event is checked by itself, and the good ones are stored before anything is acknowledged.

Batches that come while one is being committed share the next commit: a database takes few commits a second and many
events in each.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pydantic import ValidationError

from recloop.errors import RefusedValueError, StoreError
from recloop.serving.schemas import FeedbackEvent, FeedbackResponse, Rejection
from recloop.store import Added, Event, Store

COMMIT = 5_000
"""Events in one commit, if more than one batch is waiting."""
FUTURE_SECONDS = 60
"""How far the sender's clock may be ahead of ours."""

_MICRO = 1_000_000


@dataclass(eq=False)
class _Batch:
    events: list[Event]
    outcome: Added | Exception | None = None


class Feedback:
    """Takes batches of events into a store, which is opened when the first batch comes and whenever it was lost.

    Its methods may be called by several threads.

    Args:
        open_store: connects to the store.
        clock: the time now, seconds since 1970 UTC.
    """

    def __init__(self, open_store: Callable[[], Store], clock: Callable[[], float]) -> None:
        self._open_store = open_store
        self._clock = clock
        self._store: Store | None = None
        self._lock, self._committing = Lock(), Lock()
        self._waiting: deque[_Batch] = deque()

    def take(self, batch: Sequence[Any], stored_id: Callable[[str], str] = str) -> FeedbackResponse:
        """Store the good events of a batch in one transaction; an event may name users and items unknown so far.

        Args:
            batch: the events as they came.
            stored_id: what stands for a user in the store.

        Raises:
            StoreError: the store cannot be reached; nothing was stored.
        """
        latest = round((self._clock() + FUTURE_SECONDS) * _MICRO)
        indices: list[int] = []
        events: list[Event] = []
        rejected: list[Rejection] = []
        for index, raw in enumerate(batch):
            try:
                sent = FeedbackEvent.model_validate(raw)
            except ValidationError as error:
                rejected.append(Rejection(index=index, reason=_reason(error)))
                continue
            event = Event(
                event_id=sent.event_id,
                user_id=stored_id(sent.user_id),
                item_id=sent.item_id,
                event=sent.event,
                timestamp=sent.timestamp,
                value=sent.value,
                request_id=sent.request_id,
            )
            if event.timestamp > latest:
                reason = "timestamp lies in the future; numbers are seconds since 1970."
                rejected.append(Rejection(index=index, reason=reason))
                continue
            indices.append(index)
            events.append(event)
        added = self._add(events) if events else Added(accepted=0, duplicates=0, conflicts=[])
        rejected += [
            Rejection(index=indices[at], reason="event_id was used before for an event with other content.")
            for at in added.conflicts
        ]
        rejected += [
            Rejection(index=indices[at], reason="user_id was forgotten after this happened; it is not stored again.")
            for at in added.erased
        ]
        return FeedbackResponse(
            accepted=added.accepted,
            duplicates=added.duplicates,
            rejected=sorted(rejected, key=lambda rejection: rejection.index),
        )

    def close(self) -> None:
        """Give the store's connections back."""
        with self._lock:
            if self._store is not None:
                self._store.close()
            self._store = None

    def _add(self, events: list[Event]) -> Added:
        """Store a batch, with whatever else waits; whoever comes first commits for all."""
        mine = _Batch(events)
        self._waiting.append(mine)
        with self._committing:
            while mine.outcome is None:
                self._commit()
        if isinstance(mine.outcome, Exception):
            raise mine.outcome
        return mine.outcome

    def _commit(self) -> None:
        taken = [self._waiting.popleft()]
        size = len(taken[0].events)
        while self._waiting and size + len(self._waiting[0].events) <= COMMIT:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].events)
        try:
            outcomes: Sequence[Added | Exception] = self._connected().add_batches([one.events for one in taken])
        except RefusedValueError as error:  # nothing is stored, and one batch alone is to blame
            outcomes = [error] if len(taken) == 1 else [self._alone(one) for one in taken]
        except StoreError as error:
            outcomes = [StoreError(str(error)) for _ in taken]
        except Exception as error:  # noqa: BLE001 - it is the callers'
            outcomes = [error for _ in taken]
        for one, outcome in zip(taken, outcomes, strict=True):
            one.outcome = outcome

    def _alone(self, one: _Batch) -> Added | Exception:
        try:
            return self._connected().add_events(one.events)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            return error

    def _connected(self) -> Store:
        """The store; if there is none yet it is opened, outside the lock, since that may take seconds to fail."""
        if self._store is not None:
            return self._store
        opened = self._open_store()
        with self._lock:
            if self._store is None:
                self._store = opened
            else:
                opened.close()
            return self._store


def _reason(error: ValidationError) -> str:
    first = error.errors(include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "the event"
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message[0].lower()}{message[1:]}."
