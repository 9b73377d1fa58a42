from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recloop.data.tables import canonical_interactions
from recloop.drift.config import DriftConfig
from recloop.drift.inputs import Inputs
from recloop.drift.windows import Windows
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World

Row = tuple[str, str, float, str, float]
DAY = 86_400


def events(rows: list[Row]) -> pl.DataFrame:
    """Canonical interactions from user, item, days since 1970, event and value."""
    names = ["user_id", "item_id", "timestamp", "event", "value"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("timestamp") * DAY)
    return canonical_interactions(frame, "test")


def people(count: int, days: tuple[float, float], per_user: int = 4, seed: int = 0, prefix: str = "u") -> list[Row]:
    """Equally active people who choose among items at random, some time within the days."""
    rng = np.random.default_rng(seed)
    return [
        (f"{prefix}{user}", f"i{rng.integers(20)}", rng.uniform(*days), "view", 1.0)
        for user in range(count)
        for _ in range(per_user)
    ]


@pytest.fixture
def inputs() -> Callable[..., Inputs]:
    def make(reference: pl.DataFrame, current: pl.DataFrame, model: object = None, **config: float) -> Inputs:
        return Inputs(windows=Windows.of(reference, current), config=DriftConfig(**config), model=model)  # type: ignore[arg-type]

    return make


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., pl.DataFrame]:
    """Interactions of a synthetic world."""
    context = SourceContext(root=tmp_path, data=tmp_path, cache=tmp_path, progress=lambda steps, description: steps)

    def make(**options: object) -> pl.DataFrame:
        config = Config(start=datetime(2024, 1, 1, tzinfo=UTC), **options)  # type: ignore[arg-type]
        return canonical_interactions(World(config).interactions(context), "synthetic")

    return make
