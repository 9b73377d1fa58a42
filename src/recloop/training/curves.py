"""What happened in training, pass by pass, as DVC plots it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recloop.data.tables import replacing_file


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
        privacy: what private training has cost, see `training.privacy.record`; `None` for any other.
    """

    metric: str
    points: tuple[Point, ...]
    best_epoch: int
    privacy: dict[str, Any] | None = None

    def write_csv(self, folder: Path, name: str) -> None:
        """Write ``loss/NAME.csv`` and ``validation/NAME.csv``, a plot each, with a row for each pass.

        Columns: ``epoch``, and ``loss`` or the metric's name; unknown numbers are left empty. Each file is atomic.
        """
        rows = [asdict(point) for point in self.points]
        frame = pl.DataFrame(rows, schema={"epoch": pl.Int64, "loss": pl.Float64, "value": pl.Float64})
        value = pl.col("value").alias(self.metric)
        for plot, column in (("loss", pl.col("loss")), ("validation", value)):
            with replacing_file(folder / plot / f"{name}.csv") as scratch:
                frame.select("epoch", column).write_csv(scratch)
