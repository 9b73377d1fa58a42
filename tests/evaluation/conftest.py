from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from recloop.data.sequences import Contexts
from recloop.data.tables import canonical_interactions
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData

DAY = 86_400


def interactions(rows: Iterable[tuple[str, str, int]]) -> pl.DataFrame:
    """Canonical interactions from (user, item, day); the value is the day."""
    frame = pl.DataFrame(
        [(user, item, day * DAY, float(day)) for user, item, day in rows],
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "value": pl.Float32},
        orient="row",
    )
    return canonical_interactions(frame, "test")


class Fixed(Model):
    """Scores every item the same for everybody; remembers the largest batch that it was asked for."""

    def __init__(self, scores: Iterable[float]) -> None:
        self.scores = torch.tensor(list(scores), dtype=torch.float32)
        super().__init__(ModelConfig(), len(self.scores))
        self.largest = 0

    def fit(self, data: TrainingData, context: FitContext) -> None:
        """Nothing is left to learn: the scores were given."""

    def score(self, contexts: Contexts) -> Tensor:
        self.largest = max(self.largest, len(contexts))
        return self.scores.expand(len(contexts), -1).clone()

    def tensors(self) -> dict[str, Tensor]:
        return {"scores": self.scores}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.scores = tensors["scores"]


class Ratings(Fixed):
    needs = frozenset({"values"})


@pytest.fixture
def parts() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Train, validation and test of three people: carl is new, ann's second i1 is a repetition, i6 is only in test."""
    train = interactions([("ann", "i1", 1), ("ann", "i2", 2), ("bob", "i1", 1)])
    valid = interactions([("ann", "i3", 3)])
    test = interactions(
        [
            ("ann", "i4", 5),
            ("ann", "i1", 6),
            ("ann", "i5", 7),
            ("bob", "i2", 5),
            ("carl", "i1", 5),
            ("carl", "i3", 5),
            ("carl", "i6", 8),
        ]
    )
    return train, valid, test


@pytest.fixture
def many() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """A random world of 40 users and 25 items, ten days for training, two for validation, three for test."""
    random = np.random.default_rng(0)
    rows = [(f"u{random.integers(40)}", f"i{random.integers(25)}", int(random.integers(15))) for _ in range(900)]
    return tuple(
        interactions([row for row in rows if low <= row[2] < high]) for low, high in ((0, 10), (10, 12), (12, 15))
    )
