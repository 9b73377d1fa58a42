"""Waiting for what happens in another thread or process."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T | None], seconds: float = 30) -> T:
    """What `probe` gives as soon as it gives something true; asked ever less often, fails when the time is over."""
    deadline, pause = time.monotonic() + seconds, 0.005
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(pause)
        pause = min(1.5 * pause, 0.3)
    raise AssertionError(f"nothing came within {seconds} seconds")
