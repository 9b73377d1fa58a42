"""The project that a flow works on: its folder, one flow at a time, and the processes started for it."""

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recloop.errors import RecloopError

ROOT_VARIABLE = "RECLOOP_ROOT"
STOP_SECONDS = 10.0
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

    Parameters, data and stage outputs belong together, so the lock is held for a whole flow, not for one stage.
    """
    root = find_root()
    path = root / ".dvc" / "tmp" / "recloop.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file, contextlib.chdir(root):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("Another flow works on %s; waiting until it has finished.", root)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield Project(root=root, lock=file.fileno())


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of child processes: this interpreter's programs first, unbuffered output, no telemetry."""
    env = dict(os.environ if base is None else base)
    programs = str(Path(sys.executable).parent)
    return env | {
        "PATH": os.pathsep.join([programs, env.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "BENTOML_DO_NOT_TRACK": "True",
    }


def run(command: Sequence[str], project: Project, *, env: Mapping[str, str], folder: Path, log: Log) -> tuple[int, str]:
    """Run a command and send each line that it prints to `log`.

    Whatever ends the wait early (a timeout, a cancelled flow, Ctrl-C) also ends the command and its children.

    Returns:
        its exit status (negative: the signal that ended it), and the last line that it printed.
    """
    process = subprocess.Popen(
        [*_bound_to_this_process(), *command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        pass_fds=(project.lock,),
    )
    last = ""

    def listen() -> None:
        nonlocal last
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if text := line.strip():
                    log.info("%s", line.rstrip())
                    last = text

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        while (status := _poll(process)) is None:
            pass
        listener.join(LISTEN_SECONDS)
    finally:
        stop(process)
    return status, last


def _bound_to_this_process() -> list[str]:
    """Words before a command that let the kernel end it when this process is killed; none where they are unknown."""
    tool = shutil.which("setpriv")
    return [tool, "--pdeathsig", "TERM", "--"] if tool else []


def _poll(process: subprocess.Popen[Any]) -> int | None:
    """Wait in small steps: Prefect ends a task over its time only between two steps of Python."""
    try:
        return process.wait(1.0)
    except subprocess.TimeoutExpired:
        return None


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process that leads its own group, and the group, first politely and after `STOP_SECONDS` by force."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
