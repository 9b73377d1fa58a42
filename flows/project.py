"""The project that a flow works on: its folder, one flow at a time, and the commands run for it."""

import contextlib
import fcntl
import io
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from recloop import processes
from recloop.errors import RecloopError

ROOT_VARIABLE = "RECLOOP_ROOT"
RUNNER_VARIABLE = "RECLOOP_RUNNER"
"""Names the process that serves the flows, for those that it starts."""
RUNNER_SECONDS = 0.5
"""How often a flow looks whether the process that started it is still there."""
LISTEN_SECONDS = 5.0
"""How long to read on after a command has ended; something that it left running may keep its output open."""

Log = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project whose lock this process holds.

    Attributes:
        root: its folder, absolute; also the working directory while the lock is held.
        lock: descriptor of the locked file. Processes started for the project inherit it, so if this process is killed,
            the project stays locked until they have ended too.
    """

    root: Path
    lock: int


def find_root() -> Path:
    """The folder named by `RECLOOP_ROOT`, or else the working directory.

    Raises:
        RecloopError: it is not a DVC project.
    """
    root = Path(os.environ.get(ROOT_VARIABLE) or Path.cwd()).resolve()
    if not (root / ".dvc").is_dir():
        raise RecloopError(f"{root} is not a DVC project; run in the project's root or name it in {ROOT_VARIABLE}.")
    return root


@contextlib.contextmanager
def exclusive(log: Log) -> Generator[Project]:
    """Work on the project alone: a second flow waits until the first has finished, then goes on.

    Parameters, data and stage outputs belong together, so the lock is held for a whole flow, not for one stage. A flow
    that `flows.serve` started ends when that is killed: nobody could cancel it, and Prefect would not hear of it.
    """
    root = find_root()
    if runner := os.environ.get(RUNNER_VARIABLE):
        threading.Thread(target=_end_with, args=(int(runner),), name="runner", daemon=True).start()
    path = root / ".dvc" / "tmp" / "recloop.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file, contextlib.chdir(root):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("Another flow works on %s; waiting until it has finished.", root)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield Project(root=root, lock=file.fileno())


@contextlib.contextmanager
def serving(root: Path) -> Generator[None]:
    """Be the only process that serves the flows of a project.

    Raises:
        RecloopError: another one does.
    """
    path = root / ".dvc" / "tmp" / "recloop.serving.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecloopError(
                f"The flows of {root} are served already, and one process may do that at a time; stop it first."
            ) from None
        yield


def run(command: Sequence[str], working: Project, *, env: Mapping[str, str], folder: Path, log: Log) -> tuple[int, str]:
    """Run a command and send each line that it prints to `log`.

    Whatever ends the wait early (a timeout, a cancelled flow, Ctrl-C) also ends the command and its children.

    Returns:
        its exit status (negative: the signal that ended it), and the last line that it printed.
    """
    last = ""

    def listen(stdout: IO[bytes]) -> None:
        nonlocal last
        with io.TextIOWrapper(stdout, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if text := line.strip():
                    log.info("%s", line.rstrip())
                    last = text

    env = {**env, "PYTHONUNBUFFERED": "1"}
    with processes.running(command, folder=folder, env=env, output=subprocess.PIPE, keep=[working.lock]) as process:
        assert process.stdout is not None
        listener = threading.Thread(target=listen, args=(process.stdout,), daemon=True)
        listener.start()
        while (status := _poll(process)) is None:
            pass
        listener.join(LISTEN_SECONDS)
    return status, last


def _end_with(runner: int) -> None:
    """Wait until this process is no child of `runner` any more, then end it and, by their guards, its stages."""
    while os.getppid() == runner:
        time.sleep(RUNNER_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _poll(process: subprocess.Popen[Any]) -> int | None:
    """Wait in small steps: Prefect ends a task over its time only between two steps of Python."""
    try:
        return process.wait(1.0)
    except subprocess.TimeoutExpired:
        return None
