import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import project
from recloop.errors import RecloopError

LOG = logging.getLogger(__name__)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("RECLOOP_ROOT", str(tmp_path))
    return tmp_path


def run(working: project.Project, command: str) -> tuple[int, str]:
    return project.run(["sh", "-c", command], working, env=dict(os.environ), folder=working.root, log=LOG)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == __name__]


def test_a_folder_without_dvc_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECLOOP_ROOT", str(tmp_path))
    with pytest.raises(RecloopError) as caught:
        project.find_root()
    assert str(caught.value) == (
        f"{tmp_path} is not a DVC project; run in the project's root or name it in RECLOOP_ROOT."
    )


def test_the_working_directory_is_the_project_while_it_is_worked_on(root: Path):
    before = Path.cwd()
    with project.exclusive(LOG) as working:
        assert Path.cwd() == working.root == root
    assert Path.cwd() == before


def test_every_line_is_logged_and_the_last_is_returned(root: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO), project.exclusive(LOG) as working:
        assert run(working, "echo one; echo two >&2; echo; exit 3") == (3, "two")
    assert said(caplog) == ["one", "two"]


HOLD = """
import logging, sys
from flows import project
with project.exclusive(logging.getLogger()) as working:
    print("held", flush=True)
    {body}
"""


def _start(body: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", HOLD.format(body=body)], stdout=subprocess.PIPE, text=True)


def test_the_second_waits_for_the_first_and_says_so(root: Path, caplog: pytest.LogCaptureFixture):
    first = _start("import time; time.sleep(1); open('done', 'w').close()")
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with caplog.at_level(logging.INFO), project.exclusive(LOG):
        assert (root / "done").exists()
    assert said(caplog) == [f"Another flow works on {root}; waiting until it has finished."]
    first.wait()
    first.stdout.close()


def test_a_killed_flow_takes_its_command_with_it(root: Path):
    first = _start(
        "project.run(['sh', '-c', 'sleep 60; true'], working, env={}, folder=working.root, log=logging.root)"
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    time.sleep(0.5)
    first.kill()
    first.wait()
    first.stdout.close()
    started = time.monotonic()
    with project.exclusive(LOG):
        assert time.monotonic() - started < 10


def test_a_killed_flow_leaves_the_lock_to_what_still_runs(root: Path):
    command = "trap '' TERM; sleep 2; touch done"
    first = _start(f"project.run(['sh', '-c', {command!r}], working, env={{}}, folder=working.root, log=logging.root)")
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    time.sleep(0.5)
    first.kill()
    first.wait()
    first.stdout.close()
    with project.exclusive(LOG):
        assert (root / "done").exists()


def test_what_interrupts_a_flow_ends_its_command_and_the_children_of_that(root: Path):
    command = "sleep 60 & echo $! > child.part; mv child.part child; wait"
    first = _start(f"project.run(['sh', '-c', {command!r}], working, env={{}}, folder=working.root, log=logging.root)")
    while not (root / "child").exists():
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    first.wait(30)
    assert first.stdout is not None
    first.stdout.close()
    assert _ends(int((root / "child").read_text()))


def test_a_command_that_leaves_something_running_has_still_ended(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(project, "LISTEN_SECONDS", 0.5)
    with project.exclusive(LOG) as working:
        started = time.monotonic()
        assert run(working, "sleep 8 & echo done") == (0, "done")
        assert time.monotonic() - started < 5


def test_the_flows_of_a_project_are_served_once(root: Path):
    with project.serving(root):
        with pytest.raises(RecloopError) as caught, project.serving(root):
            pass
        assert str(caught.value) == (
            f"The flows of {root} are served already, and one process may do that at a time; stop it first."
        )
    with project.serving(root):
        pass


STARTS_A_FLOW = """
import os, subprocess, sys
os.environ["RECLOOP_RUNNER"] = str(os.getpid())
flow = subprocess.Popen([sys.executable, "-c", {flow!r}], stdout=subprocess.PIPE, text=True)
flow.stdout.readline()
print(flow.pid, flush=True)
flow.wait()
"""


def test_a_flow_ends_with_the_process_that_started_it_and_frees_the_project(root: Path):
    script = STARTS_A_FLOW.format(flow=HOLD.format(body="import time; time.sleep(60)"))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        flow = int(runner.stdout.readline())
        time.sleep(2 * project.RUNNER_SECONDS)
        assert not _ended(flow), "as long as that is there, the flow goes on"
        runner.kill()
    assert _ends(flow)
    with project.exclusive(LOG):
        pass


def _ends(pid: int) -> bool:
    for _ in range(50):
        if _ended(pid):
            return True
        time.sleep(0.1)
    return False


def _ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
