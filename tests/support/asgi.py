"""Asking an ASGI application in this process, after its start."""

from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.types import Message

Sent = tuple[str, str, dict[str, Any]]
"""Method, path, and what else httpx takes."""


async def begin(app: Starlette) -> None:
    """Start an application, which then goes on."""
    begins: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def told() -> Message:
        return begins.pop(0)

    async def nothing(_: Message) -> None:
        return

    await app({"type": "lifespan", "app": app}, told, nothing)


async def ask(app: Starlette, *sent: Sent) -> list[httpx.Response]:
    """What the application answers."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        return [await client.request(method, path, **rest) for method, path, rest in sent]
