"""What the service is compared with: endpoints that give a constant answer of the same size, and nothing else."""

import json
from typing import Any

import bentoml
from pydantic import BaseModel

ANSWER: dict[str, Any] = {
    "request_id": "00000000-0000-4000-8000-000000000000",
    "items": [{"item_id": str(1000 + place), "score": 12.345678901234 - place} for place in range(10)],
    "bundle": "0123456789abcdef",
    "policy": "top_n",
    "fallback": None,
    "ignored": 0,
}
"""An answer to a request for ten items."""
_BODY = json.dumps(ANSWER, separators=(",", ":")).encode()
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


class Item(BaseModel):
    """As in the service's answer."""

    item_id: str
    score: float


class Constant(BaseModel):
    """As the service's answer."""

    request_id: str
    items: list[Item]
    bundle: str
    policy: str
    fallback: str | None
    ignored: int


@bentoml.service(name="stock", workers=2)
class Stock:
    """A BentoML service as its own documentation writes it."""

    @bentoml.api(route="/recommend")
    def recommend(self, user_id: str, k: int = 10) -> Constant:
        """The constant answer."""
        del user_id, k
        return Constant(**ANSWER)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application without any framework."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
