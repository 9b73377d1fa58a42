from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import (
    FitContext,
    Model,
    ModelConfig,
    TrainingData,
    answer_nobody,
    check_needs,
    silent,
)


class Picky(Model):
    needs: ClassVar[frozenset[str]] = frozenset({"timestamps", "values"})

    def fit(self, data: TrainingData, context: FitContext) -> None: ...

    def score(self, contexts: Contexts) -> Tensor:
        return torch.nn.functional.one_hot(torch.from_numpy(contexts.items), self.n_items).float()

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None: ...


def data(timestamps: list[int], values: list[float]) -> TrainingData:
    histories = replace(
        Contexts.from_lists([[0, 1], [1]]),
        timestamps=np.array(timestamps),
        values=np.array(values, dtype=np.float32),
    )
    return TrainingData(histories=histories, n_items=2)


def refusal(data: TrainingData) -> str | None:
    try:
        check_needs(Picky, data)
    except ModelError as error:
        return str(error)
    return None


def test_data_with_times_and_ratings_serve_every_model() -> None:
    assert refusal(data([5, 6, 5], [1, 2, 3])) is None


def test_times_that_order_nothing_are_refused() -> None:
    assert refusal(data([5, 5, 9], [1, 2, 3])) == (
        "test_base needs the order of events, but all timestamps of each user are equal; give real timestamps or leave "
        "the model out."
    )


def test_values_that_are_all_equal_are_refused() -> None:
    assert refusal(data([5, 6, 5], [4, 4, 4])) == (
        "test_base needs ratings, but all values are 4; give real values or leave the model out."
    )


def test_one_event_each_needs_no_order() -> None:
    histories = replace(Contexts.from_lists([[0], [1]]), values=np.array([1, 2], dtype=np.float32))
    assert refusal(TrainingData(histories=histories, n_items=2)) is None


def test_nobody_is_answered_with_popularity() -> None:
    scores = answer_nobody(torch.zeros(3, 2), Contexts.from_lists([[], [1], []]), torch.tensor([5.0, 7.0]))
    assert scores.tolist() == [[5, 7], [0, 0], [5, 7]]


def test_likeness_is_by_default_the_score_of_a_history_of_one() -> None:
    assert Picky(ModelConfig(), 3).similar([2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_stored_tensors_are_checked() -> None:
    model = Picky(ModelConfig(), 3)
    stored = {"weights": torch.ones(3, 2)}
    assert model._tensor(stored, "weights", (3, None)) is stored["weights"]
    with pytest.raises(ModelError) as error:
        model._tensor(stored, "bias", (3,))
    assert str(error.value) == "The tensors of test_base lack 'bias'; train the model again."
    for shape in ((3,), (2, 2), (None, 3)):
        with pytest.raises(ModelError) as error:
            model._tensor(stored, "weights", shape)
        assert str(error.value).startswith(f"Tensor 'weights' of test_base has shape (3, 2), not {shape}; train")


def test_silence_passes_steps_on() -> None:
    assert list(silent([1, 2], "x")) == [1, 2]
