"""What the client sends, what it makes of answers, and when it tries again; without a network."""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from random import Random
from typing import Any

import httpx
import pytest

from recloop import client as package
from recloop.client import (
    AsyncClient,
    Client,
    ClientError,
    Event,
    FeedbackResult,
    HistoryEvent,
    Item,
    NotFoundError,
    RefusedError,
    Retries,
    Slate,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from recloop.client.events import MAX_BYTES, MAX_EVENTS
from recloop.errors import RecloopError
from recloop.serving import schemas
from tests.serving.test_imports import imported

SLATE = {
    "request_id": "r-1",
    "items": [{"item_id": "b", "score": 0.5}, {"item_id": "a", "score": 0.25}],
    "bundle": "0123",
    "policy": "top_n",
    "fallback": None,
    "ignored": 0,
}
ERASURE = {"erased": {"events": 2}, "until": "2026-01-31T12:00:00.000000+00:00", "remains": "nothing"}
QUICK = Retries(tries=4, first=0.0, longest=0.0)
Step = int | Exception | httpx.Response


class Script:
    """A service that answers as told, one step for each request, and keeps the requests."""

    def __init__(self, steps: Iterable[Step], body: Any = SLATE) -> None:
        self._steps, self._body = iter(steps), body
        self.requests = list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx.Response):
            return step
        return httpx.Response(step, json=self._body if step == 200 else {"error": f"because of {step}."})

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


def call(script: Callable[[httpx.Request], httpx.Response], way: str, name: str, *args: Any, **kwargs: Any) -> Any:
    """What a call gives, by the client of this kind."""
    options = {"retries": QUICK, "transport": httpx.MockTransport(script)} | kwargs.pop("options", {})
    if way == "sync":
        with Client("http://service.test", **options) as client:
            return getattr(client, name)(*args, **kwargs)

    async def ask() -> Any:
        async with AsyncClient("http://service.test", **options) as client:
            return await getattr(client, name)(*args, **kwargs)

    return asyncio.run(ask())


both = pytest.mark.parametrize("way", ["sync", "async"])


@both
def test_recommend_sends_what_is_given_and_gives_a_slate(way: str) -> None:
    script = Script([200])
    history = [HistoryEvent(item_id="x", timestamp="2026-01-31"), HistoryEvent(item_id="y", timestamp=5, value=2.0)]
    slate = call(
        script,
        way,
        "recommend",
        "196",
        history=history,
        k=2,
        exclude=["c"],
        filters={"year": [1999]},
        options={"api_key": "key"},
    )
    assert slate == Slate(**SLATE | {"items": (Item(item_id="b", score=0.5), Item(item_id="a", score=0.25))})
    assert script.bodies == [
        {
            "user_id": "196",
            "k": 2,
            "exclude": ["c"],
            "filters": {"year": [1999]},
            "history": [
                {"item_id": "x", "timestamp": "2026-01-31", "value": 1.0},
                {"item_id": "y", "timestamp": 5, "value": 2.0},
            ],
        }
    ]
    assert script.requests[0].headers["authorization"] == "Bearer key"
    assert script.requests[0].headers["content-type"] == "application/json"


@both
def test_reasons_come_with_the_items_if_they_are_asked_for(way: str) -> None:
    reason = {"because": [{"item_id": "x", "share": 0.75}], "method": "exact"}
    items = [{"item_id": "b", "score": 0.5, "reason": reason}, {"item_id": "a", "score": 0.25, "reason": None}]
    script = Script([200], SLATE | {"items": items})
    slate = call(script, way, "recommend", "196", reasons=True)
    assert script.bodies == [{"user_id": "196", "k": 10, "reasons": True}]
    because = (package.Because(item_id="x", share=0.75),)
    assert [item.reason for item in slate.items] == [package.Reason(because=because, method="exact"), None]


@both
def test_explain_asks_for_one_item_and_one_person(way: str) -> None:
    listed = [{"item_id": "x", "timestamp": None, "contribution": -0.5}]
    answer = {
        "item_id": "a",
        "score": 1.5,
        "base": 2.0,
        "contributions": listed,
        "rest": 0.0,
        "method": "leave_one_out",
    }
    answer |= {"sums": True, "bundle": "b", "fallback": None, "ignored": 1}
    script = Script([200], answer)
    explanation = call(script, way, "explain", "a", history=[HistoryEvent(item_id="x")], k=3)
    (body,) = script.bodies
    assert (body["item_id"], body["k"], body["history"][0]["item_id"]) == ("a", 3, "x")
    contribution = package.Contribution(item_id="x", timestamp=None, contribution=-0.5)
    assert explanation == package.Explanation(**answer | {"contributions": (contribution,)})


def test_without_a_key_none_is_sent() -> None:
    script = Script([200])
    call(script, "sync", "recommend")
    assert "authorization" not in script.requests[0].headers


@both
@pytest.mark.parametrize("failure", [429, 502, 503, 504, httpx.ConnectError("no"), httpx.ReadTimeout("slow")])
def test_feedback_is_sent_again_with_the_same_ids(way: str, failure: Step) -> None:
    stored = {"accepted": 2, "duplicates": 0, "rejected": []}
    script = Script([failure, failure, 200], stored)
    events = [Event(user_id="u", item_id=item, event="click") for item in ("a", "b")]
    result = call(script, way, "feedback", events)
    assert result == FeedbackResult(accepted=2, duplicates=0, rejected=())
    assert script.bodies[0] == script.bodies[1] == script.bodies[2]
    assert [event["event_id"] for event in script.bodies[2]["events"]] == [event.event_id for event in events]
    assert events[0].event_id != events[1].event_id


@both
@pytest.mark.parametrize(
    ("failure", "tries"),
    [(502, 1), (504, 1), (httpx.ReadTimeout("slow"), 1), (503, 2), (429, 2), (httpx.ConnectError("no"), 2)],
)
def test_forget_is_sent_again_only_if_it_was_not_done(way: str, failure: Step, tries: int) -> None:
    script = Script([failure, 200], ERASURE)
    if tries == 1:
        with pytest.raises(ClientError):
            call(script, way, "forget", "u")
    else:
        assert call(script, way, "forget", "u", "ticket 1").erased == {"events": 2}
        assert script.bodies[0] == {"user_id": "u", "asked_by": "ticket 1"}
    assert len(script.requests) == tries


@pytest.mark.parametrize(
    ("step", "kind", "sentence"),
    [
        (400, RefusedError, "because of 400."),
        (401, RefusedError, "because of 401."),
        (404, NotFoundError, "because of 404."),
        (500, UnexpectedAnswerError, "/similar was answered 500: because of 500."),
        (httpx.Response(200, text="<html>"), UnexpectedAnswerError, "The answer to /similar is none of this version"),
        (httpx.Response(200, json={"items": []}), UnexpectedAnswerError, "The answer to /similar is none of"),
        (httpx.Response(200, json=[]), UnexpectedAnswerError, "The answer to /similar is none of"),
        (httpx.Response(403, text="no"), RefusedError, "HTTP 403 Forbidden, without a reason; look into"),
    ],
)
def test_what_cannot_be_answered_is_asked_once_and_said_in_a_sentence(
    step: Step, kind: type[ClientError], sentence: str
) -> None:
    script = Script([step])
    with pytest.raises(kind) as caught:
        call(script, "sync", "similar", "a")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, RecloopError)


def test_patience_ends_with_a_sentence() -> None:
    with pytest.raises(UnreachableError) as unreachable:
        call(Script([httpx.ConnectError("refused")] * 4), "sync", "model")
    assert str(unreachable.value) == (
        "/model was not answered after 4 tries (refused); check the address and the service."
    )
    away = httpx.Response(503, json={"error": "The store is away."}, headers={"retry-after": "0"})
    with pytest.raises(UnavailableError) as unavailable:
        call(Script([away] * 4), "sync", "model")
    assert str(unavailable.value) == "/model was answered 503 after 4 tries: The store is away."
    assert (unavailable.value.status, unavailable.value.retry_after) == (503, 0.0)


def test_the_pause_doubles_is_jittered_and_bounded() -> None:
    retries, random = Retries(tries=6, first=1.0, longest=5.0), Random(3)
    for failed, bound in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0)):
        pauses = [retries.pause(failed, None, random) or -1.0 for _ in range(50)]
        assert bound / 2 <= min(pauses) < max(pauses) <= bound
    assert retries.pause(6, None, random) is None


def test_retry_after_is_waited_for_in_both_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    from email.utils import formatdate

    from recloop.client.retries import retry_after

    slept = list[float]()
    monkeypatch.setattr("recloop.client.asking.time.sleep", slept.append)
    script = Script([httpx.Response(429, headers={"retry-after": "3"}), 200])
    call(script, "sync", "recommend", options={"retries": Retries(first=0.1)})
    assert slept == [3.0]
    at = 1_800_000_000
    answer = httpx.Response(503, headers={"retry-after": formatdate(at + 7, usegmt=True)})
    assert retry_after(answer, lambda: at) == 7.0
    assert retry_after(httpx.Response(503, headers={"retry-after": "soon"})) is None
    assert retry_after(httpx.Response(503)) is None


def test_a_pause_longer_than_the_caller_waits_ends_the_call() -> None:
    script = Script([httpx.Response(503, headers={"retry-after": "60"})])
    with pytest.raises(UnavailableError) as caught:
        call(script, "sync", "recommend")
    assert (len(script.requests), caught.value.retry_after) == (1, 60.0)


@both
def test_many_events_are_cut_into_batches_and_rejections_keep_their_place(way: str) -> None:
    seen = list[int]()

    def take(request: httpx.Request) -> httpx.Response:
        events = json.loads(request.content)["events"]
        seen.append(len(events))
        body = {"accepted": len(events) - 1, "duplicates": 0, "rejected": [{"index": 1, "reason": "no."}]}
        return httpx.Response(200, json=body)

    events = (Event(user_id="u", item_id=str(number), event="view") for number in range(2 * MAX_EVENTS + 5))
    result = call(take, way, "feedback", events)
    assert seen == [MAX_EVENTS, MAX_EVENTS, 5]
    assert [one.index for one in result.rejected] == [1, MAX_EVENTS + 1, 2 * MAX_EVENTS + 1]
    assert result.accepted == 2 * MAX_EVENTS + 2


def test_batches_stay_below_the_size_that_the_service_takes() -> None:
    script = Script([200, 200], {"accepted": 1, "duplicates": 0, "rejected": []})
    wide = "ü" * 256
    call(script, "sync", "feedback", [Event(user_id=wide, item_id=wide, event="view") for _ in range(MAX_EVENTS)])
    assert [len(body["events"]) for body in script.bodies] != [MAX_EVENTS]
    assert sum(len(body["events"]) for body in script.bodies) == MAX_EVENTS
    assert max(len(request.content) for request in script.requests) <= MAX_BYTES + len('{"events":[]}')


def test_no_events_are_no_request() -> None:
    assert call(Script([]), "sync", "feedback", []) == FeedbackResult(accepted=0, duplicates=0, rejected=())


@both
@pytest.mark.parametrize(("step", "ready"), [(200, True), (503, False), (httpx.ConnectError("no"), False)])
def test_ready(way: str, step: Step, ready: bool) -> None:  # noqa: FBT001 - a case
    assert call(Script([step]), way, "ready") is ready


def test_arguments_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ClientError, match=r"'localhost:3000' is not the address of a service; write http://"):
        Client("localhost:3000")
    with pytest.raises(ClientError, match="is not the address of a service"):
        Client("http://host:port")
    with pytest.raises(ClientError, match=r"This cannot be sent as JSON .*; give text, finite numbers and times"):
        call(Script([]), "sync", "feedback", [Event(user_id="u", item_id="a", event="rating", value=float("nan"))])
    with pytest.raises(ClientError, match="api_key holds characters that no key has"):
        Client("http://service.test", api_key="a\nb")
    with pytest.raises(ClientError, match="Retries need tries of 1 or more"):
        Retries(tries=0)


def test_it_imports_little() -> None:
    modules = imported("import recloop.client")
    heavy = {"torch", "polars", "pyarrow", "numpy", "bentoml", "pydantic", "sqlalchemy", "prefect", "dvc", "pandas"}
    assert not modules & heavy
    ours = {name for name in modules if name.startswith("recloop.")}
    assert {name for name in ours if not name.startswith("recloop.client")} == {"recloop.errors"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Slate", "RecommendResponse"),
        ("Item", "ReasonedItem"),
        ("Reason", "Reason"),
        ("Because", "Because"),
        ("Explanation", "ExplainResponse"),
        ("Contribution", "Contribution"),
        ("SimilarItems", "SimilarResponse"),
        ("FeedbackResult", "FeedbackResponse"),
        ("Rejection", "Rejection"),
        ("Erasure", "ForgetResponse"),
        ("Serving", "ModelResponse"),
        ("HistoryEvent", "HistoryEvent"),
    ],
)
def test_results_have_the_fields_of_the_openapi_document(ours: str, theirs: str) -> None:
    from recloop.serving.service import RecommendationService

    document: Any = RecommendationService.openapi_spec.asdict()
    documented = document["components"]["schemas"][theirs]["properties"]
    assert {field.name for field in fields(getattr(package, ours))} == set(documented)


def test_events_have_the_fields_and_bounds_of_the_service() -> None:
    documented = schemas.FeedbackEvent.model_json_schema()["properties"]
    assert {field.name for field in fields(Event)} == set(documented)
    assert MAX_EVENTS == schemas.MAX_EVENTS
