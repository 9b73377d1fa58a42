"""The data folder's version: who may change it, and what DVC does with it.

The folder ``.recloop/`` in the project's root holds the lock and the version being written.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import IO, Any

import yaml

from recloop import processes
from recloop.errors import ConfigError, DataError

DATA = "data"
POINTER = "data.dvc"
SCRATCH = ".recloop/ingest"

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


def require_project(root: Path) -> None:
    """Refuse a root that is not set up for DVC."""
    if not (root / ".dvc").is_dir():
        raise ConfigError(
            f"{root} is not a DVC project, so its data cannot be versioned; run 'git init' and 'dvc init' there first."
        )


@contextlib.contextmanager
def alone(root: Path, *, wait: bool = False) -> Generator[IO[bytes]]:
    """Hold the project's ingestion lock; it ends with the process, or with the DVC that a killed one left behind.

    Raises:
        DataError: another process holds it, and `wait` is not set.
    """
    folder = root / SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DataError(
                f"Another ingestion is running in {root}, and only one may run at a time; wait until it has ended."
            ) from None
        yield lock


def version(root: Path) -> str:
    """The MD5 in `data.dvc`; empty if there is none."""
    pointer = root / POINTER
    if not pointer.exists():
        return ""
    try:
        return yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"]
    except (yaml.YAMLError, LookupError, TypeError):
        raise DataError(f"{pointer} is not a file of DVC; restore it with 'git checkout {POINTER}'.") from None


def is_versioned(root: Path, lock: IO[bytes]) -> bool:
    """Whether `data.dvc` names exactly what lies in ``data/``, and DVC's cache holds it."""
    if not (root / POINTER).exists():
        return False
    return json.loads(dvc(root, lock, "status", "--json", POINTER).stdout) == {}


def push(root: Path, lock: IO[bytes], progress: Progress) -> bool:
    """Send the version to DVC's default remote; False if there is none."""
    name = remote(root, lock)
    for _ in progress([name] if name else [], f"pushing to '{name}'"):
        dvc(root, lock, "push", POINTER)
    return bool(name)


def remote(root: Path, lock: IO[bytes]) -> str:
    """The name of DVC's default remote; empty if there is none."""
    return dvc(root, lock, "config", "core.remote", check=False).stdout.strip()


def dvc(root: Path, lock: IO[bytes], *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run DVC, which ends with this process at the latest and holds the lock as long.

    ``dvc add`` alone is not ended by anything that ends this process, Ctrl-C included: with links to its cache it
    removes a file of `data/` before it puts a link there. Its own output goes to a file, for a pipe would break.
    """
    command = [sys.executable, "-m", "dvc", *words]
    env = processes.environment() | {"DVC_NO_ANALYTICS": "true"}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, contextlib.ExitStack() as stack:
        if words[0] == "add":
            process = subprocess.Popen(  # noqa: S603 - fixed words
                command,
                cwd=root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
        else:
            process = stack.enter_context(
                processes.running(command, folder=root, env=env, output=output, errors=errors, keep=[lock.fileno()])
            )
        status = process.wait()
        said = [_text(file) for file in (output, errors)]
    done = subprocess.CompletedProcess(command, status, *said)
    if check and done.returncode:
        raise DataError(f"'dvc {' '.join(words)}' fails in {root} ({_reason(done)}); correct that and ingest again.")
    return done


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What DVC says of its failure, on one line and without its invitation to its forum."""
    words = done.stderr.partition("Having any troubles?")[0]
    _, found, error = words.partition("ERROR: ")
    return " ".join((error if found else words).split()) or f"status {done.returncode}"
