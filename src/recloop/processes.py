"""Child processes that never outlive who started them, and servers among them."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import httpx

from recloop import guard
from recloop.errors import RecloopError

LOCALHOST = "127.0.0.1"
STOP_SECONDS = 10.0
"""How long a process may take to end when it is told to, before it is made to."""


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """`base` (this process's environment) with this interpreter's programs first, and no telemetry."""
    env = dict(os.environ if base is None else base)
    programs = str(Path(sys.executable).parent)
    return env | {
        "PATH": os.pathsep.join([programs, env.get("PATH", os.defpath)]),
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "BENTOML_DO_NOT_TRACK": "True",
    }


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str],
    output: IO[Any] | int | None = None,
    errors: IO[Any] | int = subprocess.STDOUT,
    keep: Sequence[int] = (),
    stop_seconds: float = STOP_SECONDS,
) -> Generator["subprocess.Popen[bytes]"]:
    """Run a command until the block ends; it and its children end with the block, and with this process at the latest.

    Args:
        command: its words.
        folder: its working directory.
        env: its whole environment.
        output: where standard output and standard error go, as `subprocess` takes it; `None`: to this process's own.
        errors: where standard error goes if `output` is given; to the same place unless said.
        keep: descriptors that it inherits.
        stop_seconds: how long it may take to end.
    """
    far, near = os.pipe()
    with contextlib.ExitStack() as lifeline:
        # Closing it ends the command, so nothing can come between starting the command and being bound to end it.
        lifeline.callback(os.close, near)
        try:
            process = subprocess.Popen(  # noqa: S603 - what the caller asks for
                [sys.executable, "-I", "-S", guard.__file__, str(far), str(stop_seconds), *command],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else errors,
                pass_fds=(far, *keep),
                start_new_session=True,
            )
        finally:
            os.close(far)
        try:
            yield process
        finally:
            lifeline.close()
            process.wait()


def answers(url: str, process: "subprocess.Popen[Any]", seconds: float) -> bool:
    """Whether `url` answers with success before `seconds` have passed or `process` has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).is_success:
                return True
        time.sleep(0.1)
    return False


def free_port(port: int = 0) -> int:
    """`port` of 127.0.0.1, or any free one for 0.

    Raises:
        RecloopError: it is taken, not allowed, or not a port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except (OSError, OverflowError):
            raise RecloopError(f"Port {port} is taken or not allowed; choose another one with --port.") from None
        return int(probe.getsockname()[1])


def last_lines(log: Path, count: int) -> str:
    """The end of a log, in one line."""
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-count:]) or "no output"
