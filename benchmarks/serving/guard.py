"""Microseconds that the guard of the service adds to a request: security headers, and an API key with a rate.

    python -m benchmarks.serving.guard

An ASGI application that answers at once is called in turn by itself, behind a guard that asks for no key, and behind
one that knows 1,000 keys. The median of rounds, each of which has all three.
"""

import asyncio
import statistics
import time
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recloop.serving.access import Guard
from recloop.serving.keyring import Holder, Keyring
from recloop.store import ApiKey
from recloop.store.keys import digest

KEYS, CALLS, ROUNDS = 1_000, 2_000, 15
BODY = b"x" * 400


class Ring:
    """The keys, without a store that they come from."""

    known = True

    def __init__(self) -> None:
        self.texts = [f"recloop_{number:012x}_{'s' * 43}".encode() for number in range(KEYS)]
        self._holders = {
            digest(text): Holder(
                ApiKey(id="", digest="", name="", scopes=("recommend",), rate=1e9, burst=10**9, created=0)
            )
            for text in self.texts
        }

    def find(self, key: bytes) -> Holder | None:
        """As `Keyring.find`."""
        return self._holders.get(digest(key))


async def app(_: Scope, __: Receive, send: Send) -> None:
    """Answer at once."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"400")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def receive() -> Message:
    """Nothing asks for the body."""
    raise AssertionError


async def send(_: Message) -> None:
    """Let it go."""


async def seconds(answers: ASGIApp, scopes: list[Scope]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    for scope in scopes:
        await answers(scope, receive, send)
    return (time.perf_counter() - begun) / len(scopes)


async def measure() -> dict[str, float]:
    """Microseconds of a call, by what stands before the application."""
    ring, found = Ring(), dict[str, list[float]]()
    Guard.keyring = cast("Keyring", ring)
    kept = [(b"host", b"localhost"), (b"accept", b"*/*"), (b"content-type", b"application/json")]
    scopes: list[Scope] = [
        {
            "type": "http",
            "method": "POST",
            "path": "/recommend",
            "headers": [*kept, (b"authorization", b"Bearer " + ring.texts[call % KEYS])],
        }
        for call in range(CALLS)
    ]
    for _ in range(ROUNDS):
        for name, answers, required in (
            ("alone", app, False),
            ("headers", Guard(app), False),
            ("key", Guard(app), True),
        ):
            Guard.required = required
            found.setdefault(name, []).append(1e6 * await seconds(answers, scopes))
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Measure, and say."""
    found = asyncio.run(measure())
    print(f"security headers: {found['headers'] - found['alone']:.1f} microseconds a request")
    print(f"and one of {KEYS:,} API keys: {found['key'] - found['headers']:.1f} more")


if __name__ == "__main__":
    main()
