"""A door before BentoML: `POST /recommend` is taken before everything that BentoML does around a request.

BentoML's middlewares (metrics, traces, access log, timeouts) and its threads cost several times what an answer does.
The door lets in what is in no way special: a short body of JSON that no sampled trace (``traceparent``) follows.
Whatever is not answered there goes on to BentoML's own way unchanged, so bad requests, canaries, interleaving and
failures are answered as if there were no door, and `/recommend` stays the API that the OpenAPI document tells of. What
is logged and counted is the same on both ways, but for look-ups of candidates, which are counted here alone; what
BentoML counts by itself does not include what was answered at the door, `recloop_recommend_seconds` does.
"""

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recloop.serving.access import GUARDED, Guard

if TYPE_CHECKING:
    from recloop.serving.quick import Quick

PATH = "/recommend"
LARGE = 1 << 16
"""Bodies of more bytes are left to BentoML's way, which bounds them."""
_JSON = b"application/json"


class Door:
    """ASGI middleware that puts itself before all others of the application when that starts.

    A middleware of a BentoML service stands behind BentoML's own. This one sees the application start, and then takes
    the place of Starlette's whole stack, which it calls for everything that it does not answer. Before it stands the
    guard alone (`serving.access`).

    Attributes:
        quick: what answers, once there is something to answer with; it belongs to the process, as the service does.
    """

    quick: "Quick | None" = None

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._guarded = app, Guard(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start or end the application."""
        if scope["type"] == "lifespan":
            whole = scope["app"]
            whole.middleware_stack = Guard(_Outermost(whole.middleware_stack))
            await self._app(scope, receive, send)
        elif GUARDED in scope:
            await self._app(scope, receive, send)
        else:  # the place before all others was not to be had; nobody comes in without a key for that
            await self._guarded(scope, receive, send)


class _Outermost:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or Door.quick is None or not _plain(scope):
            await self._app(scope, receive, send)
            return
        messages, body = await _read(receive)
        answer = None if body is None else await Door.quick.answer(body)
        if answer is None:
            await self._app(scope, _again(messages, receive), send)
            return
        headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _plain(scope: Scope) -> bool:
    """Whether a request is a POST of JSON that is not being traced."""
    if scope["method"] != "POST":
        return False
    plain = True
    for name, value in scope["headers"]:
        if name == b"content-type":
            plain = plain and value == _JSON
        elif name == b"traceparent":
            plain = plain and value.endswith(b"-00")
    return plain


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """What was read of a request, and its whole body unless that is large or the sender has gone."""
    messages, size = list[Message](), 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or size > LARGE:
            return messages, None
        if not message.get("more_body", False):
            return messages, b"".join(one.get("body", b"") for one in messages)


def _again(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def received() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return received
