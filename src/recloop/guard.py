"""Runs a command, and ends it when whoever asked for it has gone.

A script for `recloop.processes`: python guard.py FD SECONDS COMMAND...

FD is the reading end of a pipe whose other end the caller holds. The system closes that end however the caller dies, by
SIGKILL too, and then the whole process group is told to end, and after SECONDS made to. The status is the command's.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time


def main(lifeline: int, seconds: float, command: list[str]) -> int:
    """Run `command`; the status is as `subprocess.Popen.returncode` gives it."""
    # Handlers, unlike SIG_IGN, are not handed on to the command: the group's SIGTERM ends that, and the guard waits.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    os.set_inheritable(lifeline, False)
    orphaned = threading.Event()

    def watch() -> None:
        os.read(lifeline, 1)
        orphaned.set()
        os.killpg(0, signal.SIGTERM)
        time.sleep(seconds)
        os.killpg(0, signal.SIGKILL)

    try:
        child = subprocess.Popen(command, close_fds=False)  # noqa: S603 - what the caller asks for
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    if orphaned.is_set():
        # What the command started and left behind has nobody to end it either.
        os.killpg(0, signal.SIGKILL)
    return status


if __name__ == "__main__":
    ended = main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
    if ended < 0:
        with contextlib.suppress(OSError):
            signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    sys.exit(ended)
