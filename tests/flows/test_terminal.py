"""A flow called from a terminal, without a server started by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.scratch import runs
from tests.support.prefect_server import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect")


def train(project: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"RECLOOP_ROOT": str(project), "PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "flows.train"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=280)


def test_it_says_in_one_line_what_came_of_it(folder: Path, home: Path):
    done = train(folder, home)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "train: 9 stages run, 1 up to date.\n"
    assert runs(folder)[-1] == "drift"
    assert "temporary server" not in done.stderr


def test_a_refusal_is_the_stage_s_sentence_and_status_2(folder: Path, home: Path):
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("validate: {}", "validate: {refuse: true}"))
    done = train(folder, home)
    assert done.returncode == 2
    assert done.stdout == ""
    last = done.stderr.rstrip().splitlines()[-1]
    assert last == "train: interactions: 'value' must lie between 1 and 5, 2 rows do not; correct them."
    assert "Traceback" not in done.stderr
