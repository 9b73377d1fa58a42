"""When a call is tried again, and after which pause.

A pause is drawn evenly from the upper half of ``min(longest, first * 2**n)`` before retry ``n = 0, 1, ...`` ("equal
jitter"; M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), so that clients that failed
together do not come back together. It is not shorter than what `Retry-After` asks for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random

import httpx

from recloop.client.failures import ClientError

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which another try may be answered."""
UNDONE = frozenset({429, 503})
"""Those of them that the service itself gives, having done nothing."""
NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before anything was sent."""
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""Failures that every try would meet."""


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How patient a client is.

    Attributes:
        tries: of one request, the first included.
        first: the bound of the first pause, seconds; it doubles with each.
        longest: the bound of a pause, seconds. If `Retry-After` asks for more, the call fails at once and says so.

    Raises:
        ClientError: a value is out of bounds.
    """

    tries: int = 5
    first: float = 0.2
    longest: float = 20.0

    def __post_init__(self) -> None:
        if self.tries < 1 or self.first < 0 or self.longest < self.first:
            raise ClientError("Retries need tries of 1 or more, and pauses with 0 <= first <= longest.")

    def pause(self, failed: int, retry_after: float | None, random: Random) -> float | None:
        """Seconds to wait after so many failed tries; `None` if there is no further try."""
        if failed >= self.tries or (retry_after is not None and retry_after > self.longest):
            return None
        bound = min(self.longest, self.first * 2 ** min(failed - 1, 60))
        return max(random.uniform(bound / 2, bound), retry_after or 0.0)


def retry_after(answer: httpx.Response, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that the header asks for, written as a number or as a date (RFC 9110, section 10.2.3)."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except ValueError:
        return None
