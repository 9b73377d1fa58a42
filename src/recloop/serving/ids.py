"""Ids of requests: random UUIDs (version 4, RFC 9562), of which many are drawn from the system at once."""

import os
from threading import Lock

_DRAWN = 256


class RequestIds:
    """Makes ids that nobody can guess; may be called by several threads.

    Asking the system for 16 random bytes gives up the interpreter, which costs more than the rest of an answer.
    """

    def __init__(self) -> None:
        self._left: list[str] = []
        self._drawing = Lock()

    def __call__(self) -> str:
        """A new id."""
        with self._drawing:
            if not self._left:
                digits = os.urandom(16 * _DRAWN).hex()
                self._left = [_uuid(digits[start : start + 32]) for start in range(0, len(digits), 32)]
            return self._left.pop()


def _uuid(digits: str) -> str:
    """32 hexadecimal digits as a UUID of version 4; six of their bits say just that."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
