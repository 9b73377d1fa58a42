from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError
from recloop.models.base import FitContext, TrainingData
from recloop.models.popularity import Popularity, PopularityConfig

CONTEXT = FitContext(device=torch.device("cpu"))
DAY = 86_400_000_000


def fitted(half_life_days: float | None = None) -> Popularity:
    histories = replace(
        Contexts.from_lists([[0, 1, 1], [1, 2]]),
        timestamps=np.array([0, 2 * DAY, 4 * DAY, 3 * DAY, 4 * DAY]),
    )
    model = Popularity(PopularityConfig(half_life_days=half_life_days), 4)
    model.fit(TrainingData(histories=histories, n_items=4), CONTEXT)
    return model


def test_scores_are_counts_of_events_for_everybody() -> None:
    assert fitted().score(Contexts.from_lists([[0], []])).tolist() == [[1, 3, 1, 0], [1, 3, 1, 0]]


def test_older_events_count_less() -> None:
    scores = fitted(half_life_days=2).score(Contexts.from_lists([[]]))
    torch.testing.assert_close(scores, torch.tensor([[0.25, 0.5 + 1 + 0.5**0.5, 1, 0]]))


def test_no_events_at_all_give_zeros() -> None:
    model = Popularity(PopularityConfig(half_life_days=1), 2)
    model.fit(TrainingData(histories=Contexts.from_lists([[]]), n_items=2), CONTEXT)
    assert model.score(Contexts.from_lists([[]])).tolist() == [[0, 0]]


def test_a_half_life_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        parse(PopularityConfig, {"half_life_days": 0}, "train.popularity")
    assert str(error.value) == (
        "train.popularity.half_life_days is 0, but input should be greater than 0; correct the value."
    )
