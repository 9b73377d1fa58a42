"""The door before BentoML: what it answers, what it leaves, and that nobody can tell."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from recloop.serving.access import Guard
from recloop.serving.door import LARGE, Door
from recloop.store import Store
from tests.support import asgi
from tests.support.bundles import packaged, world
from tests.support.service import serve
from tests.support.waiting import until

TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
UNSAMPLED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}


class Known:
    """Answers the body ``{"user_id": "known"}`` and nothing else."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def answer(self, body: bytes) -> bytes | None:
        self.asked.append(body)
        return b'{"by": "the door"}' if body == b'{"user_id": "known"}' else None


class Outer:
    """A middleware that stands before the door in the application's own order, as BentoML's do."""

    passed = 0

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            Outer.passed += 1
        await self.app(scope, receive, send)


@pytest.fixture(autouse=True)
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "required", False)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    made = Known()
    monkeypatch.setattr(Door, "quick", made)
    monkeypatch.setattr(Outer, "passed", 0)
    return made


async def requests(*sent: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    """What an application that has started answers."""

    async def echo(request: Request) -> JSONResponse:
        return JSONResponse({"by": "the application", "body": (await request.body()).decode()})

    routes = [Route("/recommend", echo, methods=["GET", "POST"]), Route("/other", echo, methods=["POST"])]
    app = Starlette(routes=routes, middleware=[Middleware(Outer), Middleware(Door)])
    await asgi.begin(app)
    return await asgi.ask(app, *sent)


def ask(**rest: Any) -> tuple[str, str, dict[str, Any]]:
    headers = {"content-type": "application/json"} | rest.pop("headers", {})
    return ("POST", "/recommend", {"content": b'{"user_id": "known"}', "headers": headers} | rest)


def test_what_it_answers_never_reaches_the_middlewares_before_it(known: Known):
    (answer,) = asyncio.run(requests(ask()))
    assert (answer.status_code, answer.json()) == (200, {"by": "the door"})
    assert answer.headers["content-type"] == "application/json"
    assert Outer.passed == 0
    assert len(known.asked) == 1


def test_what_it_does_not_answer_goes_on_whole(known: Known):
    (answer,) = asyncio.run(requests(ask(content=b'{"user_id": "other"}')))
    assert answer.json() == {"by": "the application", "body": '{"user_id": "other"}'}
    assert Outer.passed == 1
    assert len(known.asked) == 1


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts or (b'{"user_id":', b' "known"}'):
        yield part


@pytest.mark.parametrize(
    "sent",
    [
        ask(headers=TRACED),
        ask(headers={"content-type": "text/plain"}),
        ask(headers={"content-type": "application/json; charset=utf-8"}),
        ("GET", "/recommend", {}),
        ("POST", "/other", {"content": b'{"user_id": "known"}', "headers": {"content-type": "application/json"}}),
    ],
)
def test_what_is_special_is_not_even_read(known: Known, sent: tuple[str, str, dict[str, Any]]):
    (answer,) = asyncio.run(requests(sent))
    assert answer.json()["by"] == "the application"
    assert known.asked == []


def test_a_body_in_parts_is_read_to_its_end(known: Known):
    other = [b'{"user_id":', b' "other"}']
    first, second = asyncio.run(requests(ask(content=_parts()), ask(content=_parts(*other))))
    assert first.json() == {"by": "the door"}
    assert second.json() == {"by": "the application", "body": '{"user_id": "other"}'}
    assert known.asked == [b'{"user_id": "known"}', b'{"user_id": "other"}']


def test_a_large_body_goes_on_whole(known: Known):
    many = [b'{"exclude": ["', b"x" * LARGE, b'"]}']
    (answer,) = asyncio.run(requests(ask(content=_parts(*many))))
    assert answer.json() == {"by": "the application", "body": b"".join(many).decode()}
    assert known.asked == []


def test_a_trace_that_is_not_sampled_is_nothing_special(known: Known):
    (answer,) = asyncio.run(requests(ask(headers=UNSAMPLED)))
    assert answer.json() == {"by": "the door"}
    assert known.asked


def test_with_nothing_to_answer_with_it_stands_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Door, "quick", None)
    (answer,) = asyncio.run(requests(ask()))
    assert answer.json()["by"] == "the application"


@pytest.mark.integration
class TestService:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("service")

    @pytest.fixture(scope="class")
    def client(self, folder: Path) -> Iterator[httpx.Client]:
        bundle = packaged(folder / "bundle", "ease", world(), data={"feedback": 0})
        with serve(bundle, f"sqlite:///{folder}/s.sqlite") as url, httpx.Client(base_url=url, timeout=30) as client:
            yield client

    def count(self, client: httpx.Client, sample: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample))

    @pytest.mark.parametrize(
        "body",
        [
            {"user_id": "user-1"},
            {"user_id": "user-1", "k": 3},
            {"user_id": "nobody knows me"},
            {},
            {"user_id": "user-2", "exclude": ["item-1"]},
            {"history": [{"item_id": "item-3", "timestamp": 5}, {"item_id": "ünheard", "timestamp": "2024-05-01"}]},
        ],
    )
    def test_both_ways_give_the_same_answer(self, client: httpx.Client, body: dict[str, Any]):
        long = client.post("/recommend", json=body, headers=TRACED).raise_for_status()
        before = self.count(client, "bentoml_service_request_total")
        short, again = (client.post("/recommend", json=body).raise_for_status() for _ in range(2))
        assert self.count(client, "bentoml_service_request_total") == before, "BentoML has not seen it"
        ids = {response.json().pop("request_id") for response in (long, short, again)}
        assert len(ids) == 3
        rest = [
            {key: value for key, value in one.json().items() if key != "request_id"} for one in (long, short, again)
        ]
        assert rest[0] == rest[1] == rest[2]
        assert list(short.json()) == list(long.json())

    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b'{"k": 0}', 400),
            (b'{"k": "10"}', 400),
            (b'{"surprise": 1}', 400),
            (b'{"filters": {"colour": ["red"]}}', 400),
            (b"not json", 400),
            (b'{"history": [{"item_id": "a", "timestamp": 1}, {"item_id": "b"}]}', 400),
        ],
    )
    def test_bad_requests_are_refused_as_ever(self, client: httpx.Client, content: bytes, status: int):
        kind = {"content-type": "application/json"}
        short = client.post("/recommend", content=content, headers=kind)
        long = client.post("/recommend", content=content, headers=kind | TRACED)
        assert short.status_code == long.status_code == status
        assert short.json() == long.json()

    def test_reasons_are_given_the_long_way(self, client: httpx.Client):
        before = self.count(client, "bentoml_service_request_total")
        body = {"user_id": "user-1", "k": 2, "reasons": True}
        answer = client.post("/recommend", json=body).raise_for_status().json()
        assert self.count(client, "bentoml_service_request_total") == before + 1
        assert all(item["reason"]["because"] for item in answer["items"])

    def test_slates_and_counters_are_the_same(self, client: httpx.Client, folder: Path):
        names = [
            'recloop_recommendations_total{fallback="none"}',
            'recloop_answers_total{arm="champion",outcome="answered"}',
            "recloop_recommend_seconds_count",
        ]
        for headers in ({}, TRACED):
            before = [self.count(client, name) for name in names]
            answer = client.post("/recommend", json={"user_id": "user-5", "k": 4}, headers=headers).json()
            assert [self.count(client, name) for name in names] == [value + 1 for value in before]

            def logged(request_id: str = answer["request_id"]) -> dict[str, Any] | None:
                with Store.open(f"sqlite:///{folder}/s.sqlite") as store:
                    rows = [row for frame in store.impressions_after(0) for row in frame.to_dicts()]
                shown = [row for row in rows if row["request_id"] == request_id]
                return shown and {"items": [row["item_id"] for row in shown], "user": shown[0]["user_id"]}

            expected = {"items": [item["item_id"] for item in answer["items"]], "user": "user-5"}
            assert until(logged) == expected

    def test_what_is_done_now_changes_the_next_answer(self, client: httpx.Client):
        first = client.post("/recommend", json={"user_id": "user-7"}).json()["items"]
        assert client.post("/recommend", json={"user_id": "user-7"}).json()["items"] == first
        best = first[0]["item_id"]
        happened = {"event_id": "now", "user_id": "user-7", "item_id": best, "event": "click", "timestamp": 5e8}
        client.post("/feedback", json={"events": [happened]}).raise_for_status()

        def changed() -> bool:
            items = client.post("/recommend", json={"user_id": "user-7"}).json()["items"]
            return best not in [item["item_id"] for item in items]

        until(changed, seconds=5)
        hits = self.count(client, 'recloop_score_lookups_total{outcome="hit"}')
        client.post("/recommend", json={"user_id": "user-7"}).raise_for_status()
        assert self.count(client, 'recloop_score_lookups_total{outcome="hit"}') == hits + 1

    def test_the_api_is_still_documented(self, client: httpx.Client):
        paths = json.loads(client.get("/docs.json").text)["paths"]
        assert "/recommend" in paths
