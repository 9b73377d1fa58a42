"""What happened in training, pass by pass, as DVC plots it."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True, kw_only=True)
class Point:
    """One pass.

    Attributes:
        epoch: its number, from 1; 0 for a model that is not trained in passes.
        loss: mean training loss; `None` for such a model.
        value: validation metric; `None` where it was not validated.
    """

    epoch: int
    loss: float | None
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All passes of a training run.

    Attributes:
        metric: name of the validation metric.
        points: in order of passes.
        best_epoch: the pass whose weights the model has; the last one where nothing was validated.
    """

    metric: str
    points: tuple[Point, ...]
    best_epoch: int

    def write_csv(self, folder: Path, name: str) -> None:
        """Write ``loss/NAME.csv`` and ``validation/NAME.csv``, a plot each, with a row for each pass.

        Columns: ``epoch``, and ``loss`` or the metric's name; unknown numbers are left empty. Each file is atomic.
        """
        rows = [asdict(point) for point in self.points]
        frame = pl.DataFrame(rows, schema={"epoch": pl.Int64, "loss": pl.Float64, "value": pl.Float64})
        _write(frame.select("epoch", "loss"), folder / "loss" / f"{name}.csv")
        _write(frame.select("epoch", pl.col("value").alias(self.metric)), folder / "validation" / f"{name}.csv")


def _write(frame: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        frame.write_csv(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
