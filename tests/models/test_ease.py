import numpy as np
import pytest
import torch

from recloop import devices
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.ease import EASE, EASEConfig

CONTEXT = FitContext(device=torch.device("cpu"))
HISTORIES = Contexts.from_lists([[0, 1], [0, 1, 1, 2], [2], [0, 2]])


def fitted(n_items: int = 4, **parameters: object) -> EASE:
    model = EASE(EASEConfig.model_validate(parameters), n_items)
    model.fit(TrainingData(histories=HISTORIES, n_items=n_items), CONTEXT)
    return model


def test_two_items_by_hand() -> None:
    model = EASE(EASEConfig(regularization=1), 2)
    model.fit(TrainingData(histories=Contexts.from_lists([[0, 1], [0]]), n_items=2), CONTEXT)
    torch.testing.assert_close(model.tensors()["weights"], torch.tensor([[0, 1 / 3], [1 / 2, 0]]))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_each_column_is_the_ridge_regression_on_the_other_items(precision: str) -> None:
    weights = fitted(regularization=2, precision=precision).tensors()["weights"].numpy()
    matrix = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0], [1, 0, 1, 0]])
    for item in range(4):
        others = np.arange(4) != item
        known = matrix[:, others]
        solution = np.linalg.solve(known.T @ known + 2 * np.eye(3), known.T @ matrix[:, item])
        np.testing.assert_allclose(weights[others, item], solution, atol=1e-6)
        assert weights[item, item] == 0


def test_scores_are_sums_of_weights_and_repeats_count_once() -> None:
    model = fitted()
    weights = model.tensors()["weights"]
    scores = model.score(Contexts.from_lists([[2, 0, 2], [], [1]]))
    torch.testing.assert_close(scores, torch.stack([weights[0] + weights[2], torch.tensor([3.0, 2, 3, 0]), weights[1]]))


def test_one_person_scores_exactly_as_in_a_batch() -> None:
    model = fitted()
    batch = Contexts.from_lists([[2, 0, 1], [1], [0, 3]])
    together = model.score(batch)
    for row in range(3):
        assert torch.equal(model.score(batch.take(np.array([row])))[0], together[row])


def test_too_many_items_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda _: 2_000_000_000)
    with pytest.raises(ModelError) as error:
        fitted(n_items=10_000)
    assert str(error.value) == (
        "ease needs 2.4 GB of memory for 10,000 items, but 2.0 GB are free; leave the model out or drop rare items, or "
        "set its precision to float32."
    )
    monkeypatch.setattr(devices, "free_memory", lambda _: 1_000_000_000)
    with pytest.raises(ModelError, match=r"but 1\.0 GB are free; leave the model out or drop rare items\.$"):
        fitted(n_items=10_000, precision="float32")


@pytest.mark.parametrize(("precision", "remedy"), [("float32", ", or set its precision to float64"), ("float64", "")])
def test_a_matrix_that_has_no_inverse_is_refused(precision: str, remedy: str) -> None:
    model = EASE(EASEConfig.model_validate({"regularization": 1e-30, "precision": precision}), 3)
    with pytest.raises(ModelError) as error:
        model.fit(TrainingData(histories=Contexts.from_lists([[0, 1, 2]] * 3), n_items=3), CONTEXT)
    assert str(error.value) == (
        f"ease cannot invert its matrix in {precision} with regularization 1e-30; raise regularization{remedy}."
    )
