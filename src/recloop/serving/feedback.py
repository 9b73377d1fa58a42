"""Feedback: each event is checked by itself, and the good ones are stored before anything is acknowledged."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from pydantic import ValidationError

from recloop.serving.schemas import FeedbackEvent, FeedbackResponse, Rejection
from recloop.store import Added, Event, Store

FUTURE_SECONDS = 60
"""How far the sender's clock may be ahead of ours."""

_MICRO = 1_000_000


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
        self._lock = Lock()

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
            event = Event(**sent.model_dump(exclude={"user_id"}), user_id=stored_id(sent.user_id))
            if event.timestamp > latest:
                reason = "timestamp lies in the future; numbers are seconds since 1970."
                rejected.append(Rejection(index=index, reason=reason))
                continue
            indices.append(index)
            events.append(event)
        added = self._connected().add_events(events) if events else Added(accepted=0, duplicates=0, conflicts=[])
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
