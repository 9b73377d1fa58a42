from dataclasses import replace

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


DAY = 86_400_000_000


def dated(*histories: list[tuple[int, float]]) -> Contexts:
    """Histories of (item, day)."""
    plain = Contexts.from_lists([[item for item, _ in history] for history in histories])
    days = [day for history in histories for _, day in history]
    return replace(plain, timestamps=(np.array(days) * DAY).astype(np.int64))


def test_faded_events_count_less_in_training() -> None:
    histories = dated([(0, 0), (1, 0)], [(0, 4), (2, 6)], [(2, 1), (2, 6)])
    model = EASE(EASEConfig(regularization=2, half_life_days=2), 3)
    model.fit(TrainingData(histories=histories, n_items=3), CONTEXT)
    matrix = np.array([[1 / 8, 1 / 8, 0], [1 / 2, 0, 1], [0, 0, 1]])
    inverse = np.linalg.inv(matrix.T @ matrix + 2 * np.eye(3))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(model.tensors()["weights"].numpy(), weights, atol=1e-6)
    scores = model.score(dated([], [(1, 3), (0, 5)])).numpy()
    np.testing.assert_allclose(scores, [matrix.sum(axis=0), weights[1] / 2 + weights[0]], atol=1e-6)


def test_with_a_long_half_life_nothing_fades() -> None:
    histories = dated([(0, 0), (1, 0), (1, 2)], [(0, 4), (2, 6)], [(2, 6)])
    plain, long = (EASE(EASEConfig(half_life_days=days), 3) for days in (None, 1e9))
    for model in (plain, long):
        model.fit(TrainingData(histories=histories, n_items=3), CONTEXT)
    torch.testing.assert_close(plain.score(histories), long.score(histories))


def test_after_tastes_have_moved_fading_finds_the_new_ones() -> None:
    """Half of the people turn from items 0 to 4 to items 5 to 9, which the others have always taken together."""
    rng = np.random.default_rng(0)
    before = [[(int(item), day) for day, item in enumerate(rng.permutation(5)[:4])] for _ in range(60)]
    after = [[(int(item) + 5, 40.0 + day) for day, item in enumerate(rng.permutation(5)[:3])] for _ in range(60)]
    histories = dated(*(old + new for old, new in zip(before, after, strict=True)))
    best = {}
    for days in (None, 4):
        model = EASE(EASEConfig(regularization=10, half_life_days=days), 10)
        model.fit(TrainingData(histories=histories, n_items=10), CONTEXT)
        scores = model.score(histories) + torch.where(torch.from_numpy(histories.matrix(10).toarray()) > 0, -99.0, 0.0)
        best[days] = float((scores.argmax(dim=1) >= 5).float().mean())
    assert best[4] == 1
    assert best[None] < 0.9


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
