import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recloop.training import checkpoint
from tests.training.interrupted import KILLED_IN, run


@pytest.mark.parametrize(("moment", "passes"), [("after", KILLED_IN), ("while", KILLED_IN - 1)])
def test_training_killed_on_the_way_ends_like_training_that_was_not(tmp_path: Path, moment: str, passes: int) -> None:
    project = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.training.interrupted", str(tmp_path), moment]
    killed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = (tmp_path / checkpoint.FILE).read_bytes()

    seen = []
    real = checkpoint.write

    def watched(folder: Path, fingerprint: str, value: object) -> None:
        seen.append(len(value["points"]))
        real(folder, fingerprint, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write", watched)
        resumed, curves = run(tmp_path)
    assert seen[0] == passes + 1, "it did not go on from the checkpoint"
    assert (tmp_path / checkpoint.FILE).read_bytes() != left

    straight, expected = run(None)
    assert curves == expected
    assert all(torch.equal(tensor, resumed.tensors()[name]) for name, tensor in straight.tensors().items())
