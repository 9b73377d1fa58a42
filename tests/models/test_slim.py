import numpy as np
import pytest
import torch

from recloop import devices
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models import slim
from recloop.models.base import FitContext, TrainingData
from recloop.models.slim import SLIM, SLIMConfig

QUICK = {"regularization": 1.0, "lasso": 0.1, "iterations": 20}
CONTEXT = FitContext(device=torch.device("cpu"))
HISTORIES = Contexts.from_lists([[0, 1], [0, 1, 1, 2], [], [2, 0, 3, 1], [3, 0], [1]])
GRAM = np.array([[4, 3, 2, 2, 0], [3, 4, 2, 1, 0], [2, 2, 2, 1, 0], [2, 1, 1, 2, 0], [0] * 5])


def fitted(histories: Contexts = HISTORIES, n_items: int = 5, **parameters: object) -> SLIM:
    exact = {"tolerance": 1e-7, "iterations": 500}
    model = SLIM(SLIMConfig.model_validate(exact | parameters), n_items)
    model.fit(TrainingData(histories=histories, n_items=n_items), CONTEXT)
    return model


def weights(model: SLIM) -> np.ndarray:
    return model._weights.toarray()


def test_two_items_by_hand() -> None:
    model = fitted(Contexts.from_lists([[0, 1], [0], [0, 1]]), 2, regularization=1, lasso=0.5)
    np.testing.assert_allclose(weights(model), [[0, 1.5 / 4], [1.5 / 3, 0]], rtol=1e-6)


@pytest.mark.parametrize(("regularization", "lasso"), [(0.5, 0.1), (2, 1), (0.1, 0)])
def test_weights_meet_the_conditions_of_the_minimum(regularization: float, lasso: float) -> None:
    found = weights(fitted(regularization=regularization, lasso=lasso)).astype(np.float64)
    slopes = GRAM @ found - GRAM + regularization * found + lasso
    free = ~np.eye(5, dtype=bool)
    assert (found >= 0).all()
    assert (found.diagonal() == 0).all()
    np.testing.assert_allclose(slopes[free & (found > 0)], 0, atol=1e-5)
    assert (slopes[free & (found == 0)] > -1e-5).all()
    assert (found > 0).any()


def test_pairs_that_fewer_users_share_than_lasso_are_not_kept() -> None:
    found = weights(fitted(lasso=2, regularization=1))
    assert (found[GRAM <= 2] == 0).all()
    assert found[0, 1] > 0


def test_small_blocks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weights(fitted(regularization=1))
    monkeypatch.setattr(slim, "_TARGETS", 2)
    monkeypatch.setattr(slim, "_COORDINATES", 3)
    np.testing.assert_allclose(weights(fitted(regularization=1)), whole, atol=1e-6)


def test_sweeps_end_when_weights_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = []
    sweep = SLIM._sweep

    def counted(self: SLIM, *arguments: torch.Tensor) -> torch.Tensor:
        sweeps.append(len(arguments[2]))
        return sweep(self, *arguments)

    monkeypatch.setattr(SLIM, "_sweep", counted)
    fitted(iterations=2, tolerance=1e-7)
    assert sweeps == [5, 4]
    fitted(tolerance=1e9)
    assert sweeps == [5, 4, 5]


def test_scores_add_up_over_the_history_and_nobody_gets_popularity() -> None:
    model = fitted(regularization=1)
    scores = model.score(Contexts.from_lists([[0, 2, 0], [0], [2], []]))
    torch.testing.assert_close(scores[0], scores[1] + scores[2])
    assert scores[3].tolist() == [4, 4, 2, 2, 0]


def test_too_many_items_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda _: 400_000_000)
    with pytest.raises(ModelError) as error:
        fitted(n_items=10_000)
    assert str(error.value) == (
        "slim needs 0.9 GB of memory for 10,000 items, but 0.4 GB are free; leave the model out or drop rare items."
    )
