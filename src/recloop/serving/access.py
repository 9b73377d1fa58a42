"""Who may ask for what, before anything reads a request; and the security headers of every answer.

The guard stands before both ways to an answer (`serving.door`). A path that it does not know needs the scope ``admin``,
so a new call is closed until somebody says who may make it.
"""

import logging
import math
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recloop.errors import StoreError
from recloop.serving import counters

if TYPE_CHECKING:
    from recloop.serving.keyring import Holder, Keyring

ANY = "any"
"""Any key will do."""
SCOPES = {
    "/recommend": "recommend",
    "/similar": "recommend",
    "/explain": "recommend",
    "/catalogue": "recommend",
    "/ui/recommend": "recommend",
    "/model": "recommend",
    "/feedback": "feedback",
    "/forget": "admin",
    "/metrics": ANY,
}
"""What a key needs for a path."""
OPEN = frozenset({"/livez", "/readyz", "/healthz", "/", "/docs.json", "/schema.json", "/ui"})
"""What anybody may GET: probes, the API's description, and pages, whose own calls need a key."""
OPEN_FOLDERS = ("/static_content/", "/ui/")
GUARDED = "recloop.guarded"
"""What a request carries that the guard has let in."""
ANYONE = "anyone"
"""Who asks where no key is needed."""
AUDITED = {"/forget": "forget"}
"""Calls whose refusal is audited too."""
CALLER: ContextVar[str] = ContextVar("caller", default=ANYONE)
"""The id of the key of the request under way."""
RETRY_SECONDS = 5
AUDITORS = 2
"""Refusals that are written to the store at once."""

_JSON = b"application/json"
_NO_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_OWN = b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; "
_PAGE = (b"content-security-policy", _OWN + b"frame-ancestors 'none'")
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
HEADERS = (*_ALWAYS, _NO_PAGE)
"""The security headers of an answer that is not a page."""
_PAGE_HEADERS = (*_ALWAYS, _PAGE)
_log = logging.getLogger("bentoml.recloop")


class Guard:
    """ASGI middleware: refuses whoever has no right to ask, and gives every answer its security headers.

    Attributes:
        required: whether keys are needed. Both attributes belong to the process, as the service does, and until it has
            said otherwise everything is closed.
        keyring: the keys; `None` if they are not known yet.

    Args:
        app: what answers.
    """

    required: bool = True
    keyring: "Keyring | None" = None

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._auditors = anyio.CapacityLimiter(AUDITORS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope[GUARDED] = True
        if scope["type"] == "http":
            send = _with_headers(send)
            if Guard.required and (needs := needed(scope["method"], scope["path"])) is not None:
                refusal = await self._refusal(scope, needs)
                if refusal is not None:
                    await _refuse(send, *refusal)
                    return
        elif scope["type"] == "websocket" and Guard.required:
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope, needs: str) -> tuple[int, str, dict[str, str]] | None:
        """Why a request is not answered: status, sentence, headers; `None` if it is."""
        ring = Guard.keyring
        if ring is None or not ring.known:
            return _refused(503, "unknown", "The API keys cannot be read now; ask again later.", _after(RETRY_SECONDS))
        key = _key(scope)
        if key is None:
            sentence = "This call needs an API key; send it in the header 'Authorization: Bearer KEY' or 'X-API-Key'."
            return _refused(401, "no_key", sentence, {"WWW-Authenticate": "Bearer"})
        holder = ring.find(key)
        if holder is None:
            sentence = "The API key is not known or was revoked; ask whoever runs this service for another."
            return _refused(401, "bad_key", sentence, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        wait = holder.take(time.monotonic())
        if wait > 0.0:
            sentence = f"This API key may make {holder.rate:g} requests a second and has made them; ask more slowly."
            return _refused(429, "rate", sentence, _after(math.ceil(wait)))
        if needs != ANY and needs not in holder.scopes:
            await self._audit(ring, holder, scope["path"])
            sentence = f"This call needs an API key with the scope '{needs}', which this one does not have."
            challenge = f'Bearer error="insufficient_scope", scope="{needs}"'
            return _refused(403, "scope", sentence, {"WWW-Authenticate": challenge})
        CALLER.set(holder.id)
        return None

    async def _audit(self, ring: "Keyring", holder: "Holder", path: str) -> None:
        if (action := AUDITED.get(path)) is None:
            return
        try:
            await anyio.to_thread.run_sync(ring.refused, holder, action, limiter=self._auditors)
        except StoreError as error:
            _log.error("The refusal of '%s' to key %s is not in the audit: %s", action, holder.id, error)


def needed(method: str, path: str) -> str | None:
    """The scope that a key needs for a request, or `ANY`; `None` if it needs no key."""
    scope = SCOPES.get(path)
    if scope is not None:
        return scope
    if method in {"GET", "HEAD"} and (path in OPEN or path.startswith(OPEN_FOLDERS)):
        return None
    return "admin"


def described(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document that says how to send a key, and which calls may need one."""
    components: dict[str, Any] = document.get("components") or {}
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the service asks for one."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, for proxies."},
    }
    paths = {
        path: {
            method: operation
            | ({"security": [{}, {"bearer": []}, {"header": []}]} if needed(method.upper(), path) else {})
            if isinstance(operation, dict)
            else operation
            for method, operation in operations.items()
        }
        for path, operations in document["paths"].items()
    }
    return document | {"components": components | {"securitySchemes": schemes}, "paths": paths}


def _key(scope: Scope) -> bytes | None:
    """The key that a request carries: that of `Authorization`, or else that of `X-API-Key`."""
    other = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key" and other is None:
            other = value
    return other


def _refused(status: int, reason: str, sentence: str, headers: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    counters.count_refusal(reason)
    return status, sentence, headers


def _after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


async def _refuse(send: Send, status: int, sentence: str, headers: dict[str, str]) -> None:
    body = orjson.dumps({"error": sentence})
    fixed = [(b"content-type", _JSON), (b"content-length", b"%d" % len(body))]
    more = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *more]})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    """Sends an answer with the security headers that it does not have itself."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = message["headers"] = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            page = any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in given)
            given.extend(pair for pair in (_PAGE_HEADERS if page else HEADERS) if pair[0] not in names)
        await send(message)

    return sent
