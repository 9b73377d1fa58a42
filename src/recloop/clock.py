"""What time it is: the computer's, or, in a simulation, that of a file.

A simulation lives through days in minutes. It names a file in `RECLOOP_CLOCK` that holds the time, and every process of
the loop, the service's workers among them, reads it there: events, slates, decisions and cooldowns then agree on when
something happened. Without the variable nothing is read.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from recloop.errors import ConfigError

VARIABLE = "RECLOOP_CLOCK"
SECOND = 1_000_000
"""In microseconds."""


def now(env: Mapping[str, str] = os.environ) -> int:
    """The time in microseconds since 1970 UTC.

    Raises:
        ConfigError: the file that the environment names does not hold a time.
    """
    name = env.get(VARIABLE)
    if not name:
        return time.time_ns() // 1_000
    try:
        return int(Path(name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        raise ConfigError(
            f"{VARIABLE} names {name}, which does not hold a time in microseconds since 1970; unset it to use the "
            "computer's clock."
        ) from None


def seconds() -> float:
    """The time in seconds since 1970 UTC."""
    return now() / SECOND


def stand(path: Path, moment: int) -> None:
    """Make a file say that it is `moment`, microseconds since 1970 UTC; readers see the old time or the new one."""
    new = path.with_suffix(".new")
    new.write_text(str(moment), encoding="ascii")
    new.replace(path)
