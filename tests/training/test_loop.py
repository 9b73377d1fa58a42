from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.popularity import Popularity, PopularityConfig
from recloop.models.sasrec import SASRec, SASRecConfig
from recloop.training import checkpoint
from recloop.training.config import EarlyStopping, TrainConfig
from recloop.training.curves import Curves
from recloop.training.loop import train
from tests.training.scripted import Scripted, ScriptedRatings, data, questions

CONTEXT = FitContext(device=torch.device("cpu"))
ASKED = questions([[]], [0])


def config(**early_stopping: object) -> TrainConfig:
    return TrainConfig(early_stopping=EarlyStopping.model_validate({"metric": "mrr"} | early_stopping))


def values(curves: Curves) -> list[float | None]:
    return [point.value for point in curves.points]


def test_the_best_pass_is_kept() -> None:
    model = Scripted([3, 1, 0, 2])
    curves = train(model, data(ASKED), config(), CONTEXT)
    assert values(curves) == pytest.approx([1 / 4, 1 / 2, 1, 1 / 3])
    assert [point.epoch for point in curves.points] == [1, 2, 3, 4]
    assert curves.best_epoch == 3
    assert model.passes == 3


def test_of_a_model_of_ratings_the_pass_with_the_smallest_error_is_kept(tmp_path: Path) -> None:
    """The right answer has the rating 1; the pass that predicts 2 is nearest."""
    model = ScriptedRatings([5, 2, 4, 4, 1])
    rated = data(ASKED, ratings=[1, 2, 3])
    curves = train(model, rated, config(patience=2), CONTEXT, tmp_path)
    assert curves.metric == "rmse"
    assert values(curves) == pytest.approx([4, 1, 3, 3])
    assert curves.best_epoch == model.passes == 2
    again = ScriptedRatings([5, 2, 4, 4, 1])
    assert train(again, rated, config(patience=2), CONTEXT, tmp_path) == curves


def test_of_equally_good_passes_the_first_is_kept() -> None:
    model = Scripted([1, 1, 1])
    assert train(model, data(ASKED), config(), CONTEXT).best_epoch == 1
    assert model.passes == 1


def test_training_stops_when_patience_is_over() -> None:
    places = [3, 1, 2, 2, 0, 0, 0, 0]
    assert len(train(Scripted(places), data(ASKED), config(patience=2), CONTEXT).points) == 4
    assert len(train(Scripted(places), data(ASKED), config(patience=3), CONTEXT).points) == 8
    assert len(train(Scripted([0] * 9), data(ASKED), config(patience=None), CONTEXT).points) == 9


def test_a_few_gradient_steps_do_not_end_training() -> None:
    places = [3, 1, 2, 2, 2, 0]

    def passes(steps: int | None, patience_steps: int) -> int:
        model = Scripted(places, steps=steps)
        return len(train(model, data(ASKED), config(patience=2, patience_steps=patience_steps), CONTEXT).points)

    assert passes(10, 20) == passes(None, 20) == 4
    assert passes(10, 21) == passes(10, 30) == 5
    assert passes(10, 31) == 6
    assert passes(1, 0) == 4


def test_passes_between_validations_are_not_validated_but_the_last_is() -> None:
    curves = train(Scripted([3, 3, 3, 3, 0]), data(ASKED), config(validate_every=2), CONTEXT)
    assert values(curves) == [None, 1 / 4, None, 1 / 4, 1]
    curves = train(Scripted([0, 0, 0, 0, 0, 0, 0]), data(ASKED), config(validate_every=2, patience=1), CONTEXT)
    assert len(curves.points) == 4


def test_without_validation_all_passes_are_made_and_the_last_is_kept() -> None:
    for valid in (None, ASKED.take(np.array([], dtype=np.int64))):
        model = Scripted([0, 3, 3, 3, 3])
        curves = train(model, data(valid), config(patience=1), CONTEXT)
        assert values(curves) == [None] * 5
        assert curves.best_epoch == 5
        assert model.passes == 5


def test_a_model_without_passes_is_fitted_and_validated_once(tmp_path: Path) -> None:
    model = Popularity(PopularityConfig(), 5)
    curves = train(model, data(questions([[0]], [2])), config(), CONTEXT, tmp_path)
    assert [(point.epoch, point.loss, point.value) for point in curves.points] == [(0, None, 0.5)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_training_and_keeps_the_checkpoint(tmp_path: Path, loss: float) -> None:
    with pytest.raises(ModelError) as error:
        train(Scripted([0, 0, 0], {3: loss}), data(None), config(), CONTEXT, tmp_path)
    assert str(error.value) == (
        f"Training scripted gave a loss of {loss} in epoch 3 of 3; lower its learning rate or raise its regularization"
        f"; the checkpoint of epoch 2 is kept in {tmp_path / 'checkpoint.safetensors'}."
    )
    assert (tmp_path / "checkpoint.safetensors").is_file()


def test_a_loss_that_is_no_number_at_once_has_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"in epoch 1 of 1; lower its learning rate or raise its regularization\.$"):
        train(Scripted([0], {1: float("nan")}), data(None), config(), CONTEXT, tmp_path)


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    first, second = Scripted([3, 1, 0, 2, 2]), Scripted([3, 1, 0, 2, 2], {1: float("nan")})
    curves = train(first, data(ASKED), config(patience=2), CONTEXT, tmp_path)
    assert train(second, data(ASKED), config(patience=2), CONTEXT, tmp_path) == curves
    assert second.passes == first.passes == 3


def test_a_checkpoint_of_other_parameters_seed_or_data_is_ignored(tmp_path: Path) -> None:
    places = [3, 1]
    spoilt = {1: float("nan")}
    train(Scripted(places), data(ASKED), config(), CONTEXT, tmp_path)
    train(Scripted(places, spoilt), data(ASKED), config(), CONTEXT, tmp_path)
    others = [
        (data(ASKED), config(patience=7), CONTEXT),
        (data(ASKED), config(), replace(CONTEXT, seed=1)),
        (data(questions([[1]], [0])), config(), CONTEXT),
        (replace(data(ASKED), histories=Contexts.from_lists([[0, 1], [3]])), config(), CONTEXT),
        (data(None), config(), CONTEXT),
    ]
    for other in others:
        with pytest.raises(ModelError, match="gave a loss of nan in epoch 1"):
            train(Scripted(places, spoilt), *other, tmp_path)


def test_an_exploding_learning_rate_is_explained() -> None:
    model = SASRec(SASRecConfig(dim=8, heads=1, learning_rate=1e30, batch_size=1, epochs=3), 5)
    histories = Contexts.from_lists([[0, 1, 2], [2, 1], [3, 4, 0]])
    with pytest.raises(ModelError, match=r"Training sasrec gave a loss of nan in epoch 1 of 3; lower its"):
        train(model, TrainingData(histories=histories, n_items=5), config(), CONTEXT)


def test_data_without_order_are_refused_before_training() -> None:
    unordered = replace(Contexts.from_lists([[0, 1]]), timestamps=np.zeros(2, dtype=np.int64))
    with pytest.raises(ModelError, match="sasrec needs the order of events"):
        train(SASRec(SASRecConfig(), 2), TrainingData(histories=unordered, n_items=2), config(), CONTEXT)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / checkpoint.FILE).write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors is damaged"):
        train(Scripted([0]), data(None), config(), CONTEXT, tmp_path)


def test_a_number_of_passes_is_made_whatever_the_patience_and_the_last_weights_are_kept() -> None:
    model = Scripted([3, 1, 0, 2])
    curves = train(model, data(None), config(patience=1), CONTEXT, passes=2)
    assert (model.passes, curves.best_epoch, len(curves.points)) == (2, 2, 2)
