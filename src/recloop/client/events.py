"""What a caller tells the service: what a person did."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from recloop.client.failures import ClientError

MAX_EVENTS = 1_000
"""Events of one request; the service's bound."""
MAX_BYTES = 1_000_000
"""Bytes of one request's events; the service takes bodies of 1 MiB."""

Moment = datetime | float | str
"""A time: without a zone it is UTC; numbers are seconds since 1970, text is ISO 8601."""


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return str(uuid4())


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a person did with an item; sending the same object again never counts twice.

    Attributes:
        user_id: who.
        item_id: with which item.
        event: what: view, click, purchase, rating ...
        timestamp: when; by default now.
        value: rating or weight.
        request_id: of the slate that led to it.
        event_id: by which the service knows the event; by default a random UUID, made with the object.
    """

    user_id: str
    item_id: str
    event: str
    timestamp: Moment = field(default_factory=_now)
    value: float | None = None
    request_id: str | None = None
    event_id: str = field(default_factory=_new_id)


@dataclass(frozen=True, kw_only=True)
class HistoryEvent:
    """Something that the person did, as a ground for recommending.

    Attributes:
        item_id: with which item.
        timestamp: when; on every event of a history, or on none, which is then in order, oldest first.
        value: rating or weight.
    """

    item_id: str
    timestamp: Moment | None = None
    value: float = 1.0


def encode(value: Any) -> bytes:
    """A body as JSON, times as ISO 8601 text.

    Raises:
        ClientError: a value has no place in JSON.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_iso)
    except (TypeError, ValueError) as error:
        raise ClientError(f"This cannot be sent as JSON ({error}); give text, finite numbers and times.") from None
    return text.encode("utf-8", "surrogatepass")


def plain(thing: Event | HistoryEvent) -> dict[str, Any]:
    """An event as the service takes it."""
    return {name: value for name, value in asdict(thing).items() if value is not None}


def batches(events: Iterable[Event]) -> Iterator[tuple[bytes, int]]:
    """The bodies that bring these events in order, each within the service's bounds, and how many each one brings."""
    waiting, size = list[bytes](), 0
    for event in events:
        encoded = encode(plain(event))
        if waiting and (len(waiting) == MAX_EVENTS or size + len(encoded) + 1 > MAX_BYTES):
            yield _body(waiting)
            waiting, size = [], 0
        waiting.append(encoded)
        size += len(encoded) + 1
    if waiting:
        yield _body(waiting)


def _body(encoded: list[bytes]) -> tuple[bytes, int]:
    return b'{"events":[' + b",".join(encoded) + b"]}", len(encoded)


def _iso(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is no JSON value")
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
