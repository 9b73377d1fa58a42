from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models import als
from recloop.models.als import ALS, ALSConfig
from recloop.models.base import FitContext, TrainingData

QUICK = {"factors": 8, "iterations": 4, "regularization": 1.0}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = replace(
    Contexts.from_lists([[0, 1, 3], [], [1, 2], [2, 0, 2, 3, 4], [4]]),
    values=np.array([1, 2, 3, 1, 5, 2, 1, 4, 1, 1, -3], dtype=np.float32),
)
DATA = TrainingData(histories=HISTORIES, n_items=6)


def fitted(**parameters: object) -> ALS:
    config = ALSConfig.model_validate({"factors": 3, "regularization": 0.5, "alpha": 2.0, "iterations": 4} | parameters)
    model = ALS(config, 6)
    model.fit(DATA, CONTEXT)
    return model


def confidence(*, weighted: bool) -> np.ndarray:
    """1 + alpha r, by hand."""
    values = np.zeros((5, 6))
    values[0, [0, 1, 3]] = 1, 2, 3
    values[2, [1, 2]] = 1, 5
    values[3, [0, 2, 3, 4]] = 1, 6, 1, 1
    values[4, 4] = 0 if weighted else 1
    return 1 + 2.0 * (values if weighted else values > 0)


def liked() -> np.ndarray:
    matrix = np.zeros((5, 6))
    for row, items in enumerate([[0, 1, 3], [], [1, 2], [0, 2, 3, 4], [4]]):
        matrix[row, items] = 1
    return matrix


@pytest.mark.parametrize("weighted", [False, True])
def test_fold_in_is_the_exact_minimiser(weighted: bool) -> None:  # noqa: FBT001 - a parameter of the test
    model = fitted(weighted=weighted)
    items = model.item_vectors().double().numpy()
    wanted = np.zeros((5, 3))
    for user, (weights, choices) in enumerate(zip(confidence(weighted=weighted), liked(), strict=True)):
        system = items.T @ (weights[:, None] * items) + 0.5 * np.eye(3)
        wanted[user] = np.linalg.solve(system, items.T @ (weights * choices))
    found = model.user_vectors(HISTORIES).numpy()
    people = [0, 2, 3, 4]
    np.testing.assert_allclose(found[people], wanted[people], rtol=1e-5, atol=1e-6)


def test_nobody_gets_the_mean_of_the_training_users() -> None:
    model = ALS(ALSConfig(factors=3, regularization=0.5, alpha=2.0), 6)
    model.begin(DATA, CONTEXT)
    known = model.user_vectors(HISTORIES)[[0, 2, 3, 4]]
    model.advance(CONTEXT)
    nobody = model.user_vectors(Contexts.from_lists([[]]))
    torch.testing.assert_close(nobody[0], known.sum(dim=0) / 5, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_objective_and_falls() -> None:
    model = ALS(ALSConfig(factors=3, regularization=0.5, alpha=2.0), 6)
    model.begin(DATA, CONTEXT)
    people = model.user_vectors(HISTORIES).double().numpy()
    people[1] = 0
    losses = [model.advance(CONTEXT)]
    items = model.item_vectors().double().numpy()
    errors = confidence(weighted=False) * (liked() - people @ items.T) ** 2
    objective = errors.sum() + 0.5 * ((people**2).sum() + (items**2).sum())
    assert losses[0] == pytest.approx(objective / 10, rel=1e-4)
    losses += [model.advance(CONTEXT) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)


def test_an_item_without_users_gets_a_zero_vector() -> None:
    assert fitted().item_vectors()[5].tolist() == [0, 0, 0]


def test_small_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted().score(HISTORIES)
    monkeypatch.setattr(als, "_CHUNK", 4)
    torch.testing.assert_close(fitted().score(HISTORIES), whole, rtol=1e-4, atol=1e-5)


def test_chunks_hold_each_row_with_entries_once_and_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(als, "_CHUNK", 6)
    model = ALS(ALSConfig(), 6)
    chunks = list(model._chunks(model._interactions(HISTORIES), padding=6))
    assert [chunk.rows.tolist() for chunk in chunks] == [[4, 2], [0], [3]]
    assert chunks[0].columns.tolist() == [[4, 6], [1, 2]]
    assert [chunk.columns.shape for chunk in chunks] == [(2, 2), (1, 3), (1, 4)]


def test_equations_that_cannot_be_solved_say_so() -> None:
    with pytest.raises(ModelError) as error:
        fitted(factors=4, alpha=1e30, regularization=1e-30)
    assert str(error.value) == (
        "als cannot solve for its vectors with regularization 1e-30 and alpha 1e+30; raise regularization or lower "
        "alpha."
    )


def test_parameters_count_passes() -> None:
    assert ALS(ALSConfig(iterations=7), 3).epochs == 7
