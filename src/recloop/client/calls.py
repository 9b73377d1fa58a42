"""One call, without any waiting or sending: what to send next, and what to make of the answer.

`conversation` is a generator that both clients drive, each in its own way: it yields requests, is sent the answer or
the failure of each, and yields pauses between them.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

import httpx

from recloop.client.failures import (
    ClientError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from recloop.client.retries import AGAIN, HOPELESS, NOT_CONNECTED, UNDONE, Retries, retry_after

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """A request and how its answer is read.

    Attributes:
        method: of HTTP.
        path: below the client's base URL.
        body: JSON, or empty.
        read: makes the result of the answer's body.
        repeatable: whether it may be sent again although it may have been done.
    """

    method: str
    path: str
    read: Callable[[Mapping[str, Any]], T]
    body: bytes = b""
    repeatable: bool = True


Outcome = httpx.Response | httpx.TransportError
Conversation = Generator[Call[T] | float, Outcome | None, T]


def conversation(call: Call[T], retries: Retries, random: Random) -> Conversation[T]:
    """Yields the call to send, for which the outcome is to be sent in, or seconds to wait; returns the result.

    Raises:
        ClientError: see the subclasses.
    """
    failed = 0
    while True:
        outcome = yield call
        assert outcome is not None
        if not _may_be_repeated(call, outcome):
            return _result(call, outcome)
        failed += 1
        asked = retry_after(outcome) if isinstance(outcome, httpx.Response) else None
        pause = retries.pause(failed, asked, random)
        if pause is None:
            raise _failure(call, outcome, failed)
        yield pause


def _may_be_repeated(call: Call[T], outcome: Outcome) -> bool:
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in (AGAIN if call.repeatable else UNDONE)
    if isinstance(outcome, HOPELESS):
        return False
    return call.repeatable or isinstance(outcome, NOT_CONNECTED)


def _result(call: Call[T], outcome: Outcome) -> T:
    if not isinstance(outcome, httpx.Response) or not outcome.is_success:
        raise _failure(call, outcome, 1)
    try:
        return call.read(outcome.json())
    except (ValueError, KeyError, TypeError):
        raise UnexpectedAnswerError(
            f"The answer to {call.path} is none of this version of recloop; check the address and both versions."
        ) from None


def _failure(call: Call[T], outcome: Outcome, tries: int) -> ClientError:
    times = "after one try" if tries == 1 else f"after {tries} tries"
    if not isinstance(outcome, httpx.Response):
        what = str(outcome) or type(outcome).__name__
        return UnreachableError(f"{call.path} was not answered {times} ({what}); check the address and the service.")
    status, said = outcome.status_code, _said(outcome)
    if status in AGAIN:
        message = f"{call.path} was answered {status} {times}: {said}"
        return UnavailableError(message, status=status, retry_after=retry_after(outcome))
    if status == 404:
        return NotFoundError(said, status=status)
    if outcome.is_client_error:
        return RefusedError(said, status=status)
    return UnexpectedAnswerError(f"{call.path} was answered {status}: {said}")


def _said(answer: httpx.Response) -> str:
    """What the service said, in its own words, on one line."""
    try:
        body: Any = answer.json()
    except ValueError:
        body = None
    said: Any = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, str) or not said.strip():
        return f"HTTP {answer.status_code} {answer.reason_phrase}, without a reason; look into the service's log."
    return " ".join(_detailed(said, body.get("detail")).split())


def _detailed(said: str, detail: Any) -> str:
    """Which fields of a request are wrong, where the answer lists them as pydantic does; else `said`."""
    try:
        wrong = [f"{'.'.join(str(part) for part in one['loc']) or 'the body'}: {one['msg']}" for one in detail]
    except (KeyError, TypeError):
        return said
    return "; ".join(wrong) or said
