from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from recloop.serving.bodies import BodyLimit

LIMIT = 10
JSON = {"content-type": "application/json"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await JSONResponse({"bytes": len(body)})(scope, receive, send)


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"1" * size


def call(ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=BodyLimit(echo, LIMIT))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await ask(client)

    return anyio.run(go)


def post(content: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return call(lambda client: client.post("/", content=content, headers=JSON if headers is None else headers))


@pytest.mark.parametrize("content", [b"", b"1" * LIMIT])
def test_small_bodies_pass(content: bytes) -> None:
    answer = post(content)
    assert (answer.status_code, answer.json()) == (200, {"bytes": len(content)})


def test_a_body_without_a_content_type_passes_as_json() -> None:
    assert post(b"12", {}).json() == {"bytes": 2}


def test_a_body_in_pieces_passes_whole() -> None:
    assert post(chunks(4, 0, 6)).json() == {"bytes": 10}


def test_a_large_body_is_refused() -> None:
    answer = post(b"1" * (LIMIT + 1))
    assert answer.status_code == 413
    assert answer.json() == {"error": "The body is larger than 10 bytes; send fewer events or ids at once."}


def test_a_large_body_in_pieces_is_refused() -> None:
    assert post(chunks(6, 5)).status_code == 413


def test_a_body_of_another_type_is_refused() -> None:
    answer = post(b"a=1", {"content-type": "application/x-www-form-urlencoded; charset=utf-8"})
    assert answer.status_code == 415
    assert answer.json()["error"] == (
        "The body's content type is 'application/x-www-form-urlencoded', but only application/json is read."
    )


def test_other_methods_are_left_alone() -> None:
    assert call(lambda client: client.get("/", headers={"content-type": "text/plain"})).status_code == 200
