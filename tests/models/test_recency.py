from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.recency import Recency, RecencyConfig

QUICK = {"half_life_days": 1}
CONTEXT = FitContext(device=torch.device("cpu"))
DAY = 86_400_000_000
NOBODY = Contexts.from_lists([[]])


def fitted(histories: list[list[int]], days: list[float], half_life_days: float = 2) -> Recency:
    events = replace(Contexts.from_lists(histories), timestamps=(np.array(days) * DAY).astype(np.int64))
    model = Recency(RecencyConfig(half_life_days=half_life_days), 4)
    model.fit(TrainingData(histories=events, n_items=4), CONTEXT)
    return model


def test_scores_are_logarithms_of_faded_counts() -> None:
    model = fitted([[0, 1, 1], [1, 2]], [0, 2, 4, 3, 4])
    expected = np.log2([0.25, 0.5 + 1 + 0.5**0.5, 1])
    scores = model.score(Contexts.from_lists([[0], [], [2, 1]]))
    np.testing.assert_allclose(scores[:, :3], np.broadcast_to(expected, (3, 3)), rtol=1e-6)


def test_items_without_events_come_last() -> None:
    assert fitted([[0, 1, 2]], [0, 2, 4]).score(NOBODY).tolist() == [[-2, -1, 0, -3]]


def test_events_from_very_long_ago_are_still_told_apart() -> None:
    scores = fitted([[0, 1, 1, 2]], [0, 1, 1, 40_000], half_life_days=1).score(NOBODY)
    assert scores.tolist() == [[-40_000, -39_998, 0, -40_001]]


def test_no_events_at_all_give_zeros() -> None:
    model = Recency(RecencyConfig(), 2)
    model.fit(TrainingData(histories=NOBODY, n_items=2), CONTEXT)
    assert model.score(NOBODY).tolist() == [[0, 0]]


def test_events_without_times_are_refused() -> None:
    with pytest.raises(ModelError) as error:
        fitted([[0, 1], [2]], [3, 3, 3])
    assert str(error.value) == (
        "recency needs the order of events, but all timestamps of each user are equal; give real timestamps or leave "
        "the model out."
    )
