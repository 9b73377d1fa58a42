import numpy as np
import pytest
import torch

from recloop import devices
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.gfcf import GFCF, GFCFConfig

QUICK = {"factors": 3}
CONTEXT = FitContext(device=torch.device("cpu"), seed=4)
HISTORIES = Contexts.from_lists([[0, 1], [0, 1, 1, 2], [], [2, 0, 3, 1], [3, 0], [1]])
TAKEN = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0] * 5, [1, 1, 1, 1, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 0]])


def fitted(n_items: int = 5, **parameters: object) -> GFCF:
    model = GFCF(GFCFConfig.model_validate(parameters), n_items)
    model.fit(TrainingData(histories=HISTORIES, n_items=n_items), CONTEXT)
    return model


def filters(factors: int, alpha: float) -> np.ndarray:
    """The definition, with an exact decomposition."""
    items, people = np.maximum(TAKEN.sum(axis=0), 1), np.maximum(TAKEN.sum(axis=1), 1)
    normal = TAKEN / np.sqrt(people[:, None] * items)
    vectors = np.linalg.svd(normal)[2][:factors].T
    low_pass = np.diag(items**-0.5) @ vectors @ vectors.T @ np.diag(items**0.5)
    return normal.T @ normal + alpha * low_pass


@pytest.mark.parametrize(("factors", "alpha"), [(1, 0.3), (2, 2.0), (3, 0.0)])
def test_weights_are_both_filters(factors: int, alpha: float) -> None:
    weights = fitted(factors=factors, alpha=alpha).tensors()["weights"]
    np.testing.assert_allclose(weights, filters(factors, alpha), atol=1e-5)


def test_the_linear_filter_by_hand() -> None:
    scores = fitted(alpha=0).score(Contexts.from_lists([[3]]))
    taken_with = [(1 / 4 + 1 / 2) / 8**0.5, 1 / 4 / 8**0.5, 1 / 4 / 2, (1 / 4 + 1 / 2) / 2, 0]
    assert scores[0].tolist() == pytest.approx(taken_with)


def test_factors_beyond_the_rank_change_nothing() -> None:
    torch.testing.assert_close(fitted(factors=4).tensors()["weights"], fitted(factors=256).tensors()["weights"])


def test_scores_add_up_over_the_history_and_nobody_gets_popularity() -> None:
    scores = fitted().score(Contexts.from_lists([[0, 2, 0], [0], [2], []]))
    torch.testing.assert_close(scores[0], scores[1] + scores[2])
    assert scores[3].tolist() == [4, 4, 2, 2, 0]


def test_too_many_items_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda _: 400_000_000)
    with pytest.raises(ModelError) as error:
        fitted(n_items=10_000, factors=100)
    assert str(error.value) == (
        "gfcf needs 0.4 GB of memory for 10,000 items, but 0.4 GB are free; leave the model out or drop rare items."
    )
