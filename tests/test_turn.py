import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

STAGES = """
stages:
  long:
    cmd: touch begun && sleep 300
"""


@pytest.mark.slow
@pytest.mark.integration
def test_killing_a_run_ends_dvc_and_its_stage(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(STAGES)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
    command = [sys.executable, "-c", "from recloop.cli import main; main()", "run"]
    run = psutil.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started: list[psutil.Process] = []
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "begun").exists():
            assert run.poll() is None, "the run ended before its stage began"
            assert time.monotonic() < end, "the stage has not begun"
            time.sleep(0.05)
        started = run.children(recursive=True)
        said = [" ".join(one.cmdline()) for one in started]
        assert any("-m dvc repro" in words for words in said)
        assert any(words.endswith("sleep 300") for words in said)
        run.kill()
        end = time.monotonic() + 30
        while any(map(lives, started)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not [one for one in started if lives(one)]
    finally:
        for one in [run, *started]:
            if lives(one):
                one.kill()
        run.wait()


def lives(process: psutil.Process) -> bool:
    """Whether it is there, and does not only wait to be buried."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
