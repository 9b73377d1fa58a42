"""Downloads that survive a cut connection and are never trusted without their checksum."""

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from recloop.errors import SourceError

PIECE = 1 << 20
ATTEMPTS = 3


def fetch(url: str, path: Path, *, md5: str, progress: Callable[[Iterable[Any], str], Iterable[Any]]) -> Path:
    """Make `path` hold what `url` serves, and return it; a file with the right checksum is not fetched again.

    What has arrived lies in ``<path>.part``. A cut connection is taken up again from there, at once up to `ATTEMPTS`
    times, and by the next call; a server that cannot answer now is asked as often. Several processes may call this at
    the same time: one downloads, the others wait.

    Raises:
        SourceError: the server cannot be reached or refuses, or the checksum is wrong; a wrong file is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_file() and digest(path, "md5") == md5:
            return path
        part = path.with_name(f"{path.name}.part")
        _receive(url, part, progress)
        found = digest(part, "md5")
        if found != md5:
            part.unlink()
            raise SourceError(
                f"{url} has the MD5 checksum {found}, not {md5}; the download was deleted, run again or correct the "
                f"address."
            )
        part.replace(path)
    return path


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@dataclass(frozen=True)
class _Pieces:
    """The body of an answer in pieces of `PIECE` bytes, with their number, so that a bar can show how many are left."""

    answer: httpx.Response

    def __iter__(self) -> Iterator[bytes]:
        return self.answer.iter_raw(PIECE)

    def __len__(self) -> int:
        return (int(self.answer.headers.get("Content-Length", 0)) + PIECE - 1) // PIECE


def _receive(url: str, part: Path, progress: Callable[[Iterable[Any], str], Iterable[Any]]) -> None:
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            return _continue(url, part, progress)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status != HTTPStatus.TOO_MANY_REQUESTS and not error.response.is_server_error:
                raise SourceError(f"{url} answers with status {status}; correct the address.") from None
            reason = f"status {status}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
    raise SourceError(
        f"{url} cannot be downloaded ({reason}); check the address and the connection, then run again: the download "
        f"goes on where it stopped."
    )


def _continue(url: str, part: Path, progress: Callable[[Iterable[Any], str], Iterable[Any]]) -> None:
    there = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as answer:
        if there and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        answer.raise_for_status()
        resumed = answer.status_code == HTTPStatus.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as file:
            for piece in progress(_Pieces(answer), f"downloading {url.rpartition('/')[2]}"):
                file.write(piece)
