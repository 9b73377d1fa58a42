import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recloop.data import swap

OLD = {"a": "one", "deep/b": "two"}
NEW = {"a": "three", "deep/c": "four", "deep/d": "five"}

DYING = """
import os, signal, sys
from pathlib import Path
from recloop.data import swap

target, scratch, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
new = {new!r}

def count(event, arguments):
    global left
    if armed and event in {{"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "open", "os.scandir"}}:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

armed = False
sys.addaudithook(count)
armed = True
swap.recover(target, scratch)
staged = swap.stage(scratch)
for name, text in new.items():
    (staged / name).parent.mkdir(exist_ok=True)
    (staged / name).write_text(text)
swap.replace(target, scratch)
armed = False
"""


def fill(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.mark.parametrize("before", [OLD, {}])
def test_a_folder_is_replaced(target: Path, scratch: Path, before: dict[str, str]) -> None:
    fill(target, before)
    fill(swap.stage(scratch), NEW)
    swap.replace(target, scratch)
    assert content(target) == NEW
    assert list(scratch.iterdir()) == []


def test_staging_starts_empty(target: Path, scratch: Path) -> None:
    fill(swap.stage(scratch), OLD)
    assert content(swap.stage(scratch)) == {}


def test_a_file_is_adopted(target: Path, scratch: Path) -> None:
    fill(target, OLD)
    fill(swap.stage(scratch), {"e": "six"})
    swap.adopt(scratch / "new" / "e", target / "deep" / "e")
    assert content(target) == OLD | {"deep/e": "six"}


def test_recovery_of_nothing_does_nothing(target: Path, scratch: Path) -> None:
    swap.recover(target, scratch)
    assert not target.exists()
    fill(target, OLD)
    swap.recover(target, scratch)
    assert content(target) == OLD


def test_an_old_version_without_a_successor_returns(target: Path, scratch: Path) -> None:
    fill(scratch / "old", OLD)
    fill(scratch / "new", NEW)
    swap.recover(target, scratch)
    assert content(target) == OLD
    assert list(scratch.iterdir()) == []


def test_an_old_version_with_a_successor_goes(target: Path, scratch: Path) -> None:
    fill(scratch / "old", OLD)
    fill(scratch / "trash", {"half": ""})
    fill(target, NEW)
    swap.recover(target, scratch)
    assert content(target) == NEW
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("start", ["in place", "after a kill"])
def test_a_kill_before_any_operation_leaves_a_whole_version(target: Path, scratch: Path, start: str) -> None:
    """The process kills itself before its first, second, ... operation on files, until one run survives."""
    step = 0
    while True:
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        if start == "after a kill":
            fill(scratch / "old", OLD)
            fill(scratch / "new", {"half": ""})
            fill(scratch / "trash", {"half": ""})
        else:
            fill(target, OLD)
        script = DYING.format(new=NEW)
        done = subprocess.run([sys.executable, "-c", script, target, scratch, str(step)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        whole = target if target.exists() else scratch / "old"
        assert content(whole) in (OLD, NEW)
        swap.recover(target, scratch)
        assert content(target) in (OLD, NEW)
        assert list(scratch.iterdir()) == []
        step += 1
    assert step > 10
    assert content(target) == NEW
    assert list(scratch.iterdir()) == []
