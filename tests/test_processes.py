import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recloop import processes
from recloop.errors import RecloopError

KILLED = """
import os, sys
from pathlib import Path
from recloop import processes
with processes.running(["sh", "-c", sys.argv[1]], folder=Path.cwd(), env=os.environ, stop_seconds=1.0):
    while not Path("pid").exists():
        pass
    os.kill(os.getpid(), 9)
"""
LEAVE_PID = "echo $! > part; mv part pid;"


def run(command: str, folder: Path) -> int:
    with processes.running(["sh", "-c", command], folder=folder, env=os.environ) as process:
        return process.wait()


def ends(pid: int) -> bool:
    """Whether a process is gone within five seconds, or only waits to be buried."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -15 $$", -15)])
def test_the_status_is_the_commands(tmp_path: Path, command: str, status: int):
    assert run(command, tmp_path) == status


def test_a_command_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with processes.running(["no-such-program"], folder=tmp_path, env={}) as process:
        assert process.wait() == 127
    assert capfd.readouterr().err == "no-such-program: No such file or directory\n"


@pytest.mark.parametrize("command", ["sleep 60 &", "trap '' TERM; sleep 60 &"], ids=["willing", "deaf"])
def test_leaving_the_block_ends_the_command_and_its_children(tmp_path: Path, command: str):
    words = ["sh", "-c", f"{command} {LEAVE_PID} wait"]
    with processes.running(words, folder=tmp_path, env=os.environ, stop_seconds=0.5) as process:
        while not (tmp_path / "pid").exists():
            time.sleep(0.02)
    assert process.returncode is not None
    assert ends(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("command", ["sleep 60 &", "trap '' TERM; sleep 60 &"], ids=["willing", "deaf"])
def test_killing_who_started_it_ends_the_command_and_its_children(tmp_path: Path, command: str):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, f"{command} {LEAVE_PID} wait"], cwd=tmp_path, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert ends(int((tmp_path / "pid").read_text()))


def test_a_child_left_behind_by_a_command_that_ended_well_may_go_on(tmp_path: Path):
    assert run(f"sleep 2 & {LEAVE_PID} exit 0", tmp_path) == 0
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


def test_the_command_may_be_interrupted_by_the_handlers_it_was_born_with(tmp_path: Path):
    """A guard that ignored SIGTERM would hand that on."""
    with processes.running(["sleep", "60"], folder=tmp_path, env=os.environ, stop_seconds=30.0):
        time.sleep(0.3)
        started = time.monotonic()
    assert time.monotonic() - started < 10


def test_the_programs_of_this_interpreter_come_first():
    path = processes.environment({"PATH": "/usr/bin"})["PATH"]
    assert path.split(os.pathsep) == [str(Path(sys.executable).parent), "/usr/bin"]


def test_a_server_that_ends_does_not_answer(tmp_path: Path):
    with processes.running(["true"], folder=tmp_path, env=os.environ) as process:
        started = time.monotonic()
        assert not processes.answers(f"http://127.0.0.1:{processes.free_port()}", process, 60)
        assert time.monotonic() - started < 30


def test_a_server_answers(tmp_path: Path):
    port = processes.free_port()
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with processes.running(words, folder=tmp_path, env=os.environ, output=subprocess.DEVNULL) as process:
        assert processes.answers(f"http://127.0.0.1:{port}/", process, 60)
        assert not processes.answers(f"http://127.0.0.1:{port}/missing", process, 0.5)


@pytest.mark.parametrize("port", [-1, 70000])
def test_not_a_port(port: int):
    with pytest.raises(RecloopError) as caught:
        processes.free_port(port)
    assert str(caught.value) == f"Port {port} is taken or not allowed; choose another one with --port."


def test_a_taken_port():
    with socket.socket() as other:
        other.bind((processes.LOCALHOST, 0))
        other.listen()
        with pytest.raises(RecloopError, match="is taken or not allowed"):
            processes.free_port(other.getsockname()[1])


def test_the_last_lines_of_a_log(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthree\n")
    assert processes.last_lines(log, 2) == "two | three"
    log.write_text("")
    assert processes.last_lines(log, 2) == "no output"
