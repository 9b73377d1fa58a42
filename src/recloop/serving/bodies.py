"""A limit on what callers may send: the size of a body, and its form."""

import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1 << 20


class BodyLimit:
    """ASGI middleware: a body that is too large gets 413, one that is not JSON gets 415, before anything reads it.

    A body without a declared length is collected up to the limit first.

    Args:
        app: what answers all other requests.
        limit: in bytes.
    """

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        kind = headers.get(b"content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            await _refuse(send, 415, f"The body's content type is '{kind}', but only application/json is read.")
            return
        length = headers.get(b"content-length")
        if length is None:
            body = await self._collect(receive)
            if body is not None:
                await self._app(scope, _replay(body, receive), send)
                return
        elif length.isdecimal() and int(length) <= self._limit:
            await self._app(scope, receive, send)
            return
        await _refuse(send, 413, f"The body is larger than {self._limit} bytes; send fewer events or ids at once.")

    async def _collect(self, receive: Receive) -> bytes | None:
        """The whole body, or nothing if it is larger than the limit."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


async def _refuse(send: Send, status: int, sentence: str) -> None:
    content: dict[str, Any] = {"error": sentence}
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
