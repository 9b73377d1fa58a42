"""Trains SASRec and is killed by the system on the way: ``python -m tests.training.interrupted FOLDER MOMENT``."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.sasrec import SASRec, SASRecConfig
from recloop.training import checkpoint
from recloop.training.config import EarlyStopping, TrainConfig
from recloop.training.curves import Curves
from recloop.training.loop import train
from tests.training.scripted import questions

KILLED_IN = 3


def run(folder: Path | None) -> tuple[SASRec, Curves]:
    """Train without being killed; dropout, sampling, early stopping and best weights all take part."""
    random = np.random.default_rng(0)
    histories = [[(start + step) % 9 for step in range(random.integers(3, 12))] for start in range(40)]
    asked = questions(histories[:20], [(history[-1] + 1) % 9 for history in histories[:20]])
    small = SASRecConfig(
        dim=8, layers=1, heads=1, max_length=5, batch_size=16, epochs=6, loss="sampled_softmax", negatives=4
    )
    model = SASRec(small, 9)
    data = TrainingData(histories=Contexts.from_lists(histories), n_items=9, valid=asked)
    config = TrainConfig(early_stopping=EarlyStopping(metric="mrr", mask_seen=False))
    return model, train(model, data, config, FitContext(device=torch.device("cpu"), seed=2), folder)


def die_after_writing(written: list[int]) -> None:
    """Let the checkpoint of pass `KILLED_IN` be the last thing that happens."""
    write = checkpoint.write

    def then_die(*arguments: object) -> None:
        write(*arguments)  # pyright: ignore[reportArgumentType]
        written.append(1)
        if len(written) == KILLED_IN:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.write = then_die


def die_while_writing(written: list[int]) -> None:
    """Die in pass `KILLED_IN`, with half of its checkpoint on disk."""
    save_file = checkpoint.save_file

    def half(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, path, metadata=metadata)
        written.append(1)
        if len(written) == KILLED_IN:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save_file = half


if __name__ == "__main__":
    {"after": die_after_writing, "while": die_while_writing}[sys.argv[2]]([])
    run(Path(sys.argv[1]))
