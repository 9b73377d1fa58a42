"""The two clients: the same calls, sent by httpx in this thread or in an event loop."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from recloop.client import answers
from recloop.client.answers import Erasure, Explanation, FeedbackResult, Serving, SimilarItems, Slate
from recloop.client.calls import Call, Outcome, conversation
from recloop.client.events import Event, HistoryEvent, batches, encode, plain
from recloop.client.failures import ClientError
from recloop.client.retries import Retries

T = TypeVar("T")
TIMEOUT = 10.0
PATIENT = Retries()


class _Base:
    """What both clients share.

    Args:
        base_url: of the service.
        api_key: sent as ``Authorization: Bearer``.
        timeout: seconds for connecting, for sending, and for each part of an answer of one try.
        retries: how often failed tries are repeated.
        random: where the pauses are drawn.

    Raises:
        ClientError: the address is none of HTTP.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout: float, retries: Retries, random: Random) -> None:
        try:
            scheme = httpx.URL(base_url).scheme
        except httpx.InvalidURL:
            scheme = ""
        if scheme not in {"http", "https"}:
            raise ClientError(f"{base_url!r} is not the address of a service; write http://HOST:PORT or https://HOST.")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ClientError("api_key holds characters that no key has; give the key as it was issued.")
        headers = {"content-type": "application/json", "accept": "application/json"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        self._options: dict[str, Any] = {"base_url": base_url, "timeout": timeout, "headers": headers}
        self._retries, self._random = retries, random


class Client(_Base):
    """Asks the service, and waits for each answer; may be shared by threads.

    Tried again: whatever failed before or while an answer came, and answers 429, 502, 503 and 504. `forget` is tried
    again only if it was certainly not done (no connection, 429, 503). `recommend` is logged by the service as shown
    even if its answer was lost on the way.

    Args:
        base_url: of the service.
        api_key: sent as ``Authorization: Bearer``.
        timeout: seconds for connecting, for sending, and for each part of an answer of one try.
        retries: how often failed tries are repeated.
        random: where the pauses are drawn; by default the system's randomness.
        transport: of httpx, in place of the network.

    Raises:
        ClientError: an argument cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT,
        retries: Retries = PATIENT,
        random: Random | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, api_key, timeout, retries, random or Random())  # noqa: S311 - no secret
        self._http = httpx.Client(transport=transport, **self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def recommend(
        self,
        user_id: str | None = None,
        *,
        history: Sequence[HistoryEvent] | None = None,
        k: int = 10,
        exclude: Sequence[str] = (),
        filters: Mapping[str, Any] | None = None,
        reasons: bool = False,
    ) -> Slate:
        """Items for a known user, for a history, for both (the history counts), or for nobody in particular."""
        return self._ask(_recommend(_person(user_id, history), k, exclude, filters, reasons=reasons))

    def explain(
        self, item_id: str, user_id: str | None = None, *, history: Sequence[HistoryEvent] | None = None, k: int = 10
    ) -> Explanation:
        """What each item of a history adds to the score of an item; `NotFoundError` if the catalogue lacks it."""
        return self._ask(_explain(_person(user_id, history), item_id, k))

    def similar(self, item_id: str, k: int = 10) -> SimilarItems:
        """Items like one item; `NotFoundError` if the catalogue does not hold it."""
        return self._ask(_similar(item_id, k))

    def feedback(self, events: Iterable[Event]) -> FeedbackResult:
        """Store events, in batches of at most 1,000, one after the other; each is stored once, however often sent.

        If a batch fails, those before it are stored; sending all the same `Event` objects again is harmless.
        """
        return answers.joined([(self._ask(_feedback(body)), count) for body, count in batches(events)])

    def forget(self, user_id: str, asked_by: str | None = None) -> Erasure:
        """Erase a person from the store."""
        return self._ask(_forget(user_id, asked_by))

    def model(self) -> Serving:
        """What is serving."""
        return self._ask(_MODEL)

    def ready(self) -> bool:
        """Whether the service can answer now; asked once."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _ask(self, call: Call[T]) -> T:
        talk = conversation(call, self._retries, self._random)
        outcome: Outcome | None = None
        while True:
            try:
                step = talk.send(outcome)
            except StopIteration as done:
                return done.value
            outcome = None
            if not isinstance(step, Call):
                time.sleep(step)
                continue
            try:
                outcome = self._http.request(step.method, step.path, content=step.body or None)
            except httpx.TransportError as error:
                outcome = error


class AsyncClient(_Base):
    """As `Client`, for an event loop; may be shared by tasks."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT,
        retries: Retries = PATIENT,
        random: Random | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, api_key, timeout, retries, random or Random())  # noqa: S311 - no secret
        self._http = httpx.AsyncClient(transport=transport, **self._options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def recommend(
        self,
        user_id: str | None = None,
        *,
        history: Sequence[HistoryEvent] | None = None,
        k: int = 10,
        exclude: Sequence[str] = (),
        filters: Mapping[str, Any] | None = None,
        reasons: bool = False,
    ) -> Slate:
        """See `Client.recommend`."""
        return await self._ask(_recommend(_person(user_id, history), k, exclude, filters, reasons=reasons))

    async def explain(
        self, item_id: str, user_id: str | None = None, *, history: Sequence[HistoryEvent] | None = None, k: int = 10
    ) -> Explanation:
        """See `Client.explain`."""
        return await self._ask(_explain(_person(user_id, history), item_id, k))

    async def similar(self, item_id: str, k: int = 10) -> SimilarItems:
        """See `Client.similar`."""
        return await self._ask(_similar(item_id, k))

    async def feedback(self, events: Iterable[Event]) -> FeedbackResult:
        """See `Client.feedback`."""
        return answers.joined([(await self._ask(_feedback(body)), count) for body, count in batches(events)])

    async def forget(self, user_id: str, asked_by: str | None = None) -> Erasure:
        """See `Client.forget`."""
        return await self._ask(_forget(user_id, asked_by))

    async def model(self) -> Serving:
        """See `Client.model`."""
        return await self._ask(_MODEL)

    async def ready(self) -> bool:
        """See `Client.ready`."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    async def _ask(self, call: Call[T]) -> T:
        talk = conversation(call, self._retries, self._random)
        outcome: Outcome | None = None
        while True:
            try:
                step = talk.send(outcome)
            except StopIteration as done:
                return done.value
            outcome = None
            if not isinstance(step, Call):
                await asyncio.sleep(step)
                continue
            try:
                outcome = await self._http.request(step.method, step.path, content=step.body or None)
            except httpx.TransportError as error:
                outcome = error


_MODEL = Call(method="GET", path="/model", read=answers.serving)


def _recommend(
    person: dict[str, Any], k: int, exclude: Sequence[str], filters: Mapping[str, Any] | None, *, reasons: bool
) -> Call[Slate]:
    body = person | {"k": k}
    if exclude:
        body["exclude"] = list(exclude)
    if filters:
        body["filters"] = dict(filters)
    if reasons:
        body["reasons"] = True
    return _post("/recommend", body, answers.slate)


def _explain(person: dict[str, Any], item_id: str, k: int) -> Call[Explanation]:
    return _post("/explain", person | {"item_id": item_id, "k": k}, answers.explanation)


def _person(user_id: str | None, history: Sequence[HistoryEvent] | None) -> dict[str, Any]:
    """Who asks, as fields of a body."""
    body: dict[str, Any] = {} if user_id is None else {"user_id": user_id}
    return body if history is None else body | {"history": [plain(event) for event in history]}


def _similar(item_id: str, k: int) -> Call[SimilarItems]:
    return _post("/similar", {"item_id": item_id, "k": k}, answers.similar_items)


def _feedback(body: bytes) -> Call[FeedbackResult]:
    return Call(method="POST", path="/feedback", read=answers.feedback_result, body=body)


def _forget(user_id: str, asked_by: str | None) -> Call[Erasure]:
    body = {"user_id": user_id} | ({} if asked_by is None else {"asked_by": asked_by})
    return Call(method="POST", path="/forget", read=answers.erasure, body=encode(body), repeatable=False)


def _post(path: str, body: Mapping[str, Any], read: Any) -> Call[Any]:
    return Call(method="POST", path=path, read=read, body=encode(body))
