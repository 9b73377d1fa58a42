from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
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


def test_a_history_that_few_steps_do_not_solve_is_solved_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(weighted=True)
    wanted = model.user_vectors(HISTORIES)
    monkeypatch.setattr("recloop.models.als._MOST_STEPS", 1)
    torch.testing.assert_close(model.user_vectors(HISTORIES), wanted, rtol=1e-5, atol=1e-6)


def test_a_history_is_answered_alike_in_any_company() -> None:
    model = fitted(factors=4, iterations=1)
    together = model.user_vectors(HISTORIES)
    alone = torch.cat([model.user_vectors(HISTORIES.take(np.array([row]))) for row in range(5)])
    torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-7)


def test_nobody_gets_the_mean_of_the_training_users() -> None:
    model = ALS(ALSConfig(factors=3, regularization=0.5, alpha=2.0, cg_steps=3), 6)
    model.begin(DATA, CONTEXT)
    known = model.user_vectors(HISTORIES)[[0, 2, 3, 4]]
    model.advance(CONTEXT)
    nobody = model.user_vectors(Contexts.from_lists([[]]))
    torch.testing.assert_close(nobody[0], known.sum(dim=0) / 5, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_objective_and_falls() -> None:
    model = ALS(ALSConfig(factors=3, regularization=0.5, alpha=2.0), 6)
    model.begin(DATA, CONTEXT)
    losses = [model.advance(CONTEXT)]
    people = model.training_state()["users"].double().numpy()
    items = model.item_vectors().double().numpy()
    errors = confidence(weighted=False) * (liked() - people @ items.T) ** 2
    objective = errors.sum() + 0.5 * ((people**2).sum() + (items**2).sum())
    assert losses[0] == pytest.approx(objective / 10, rel=1e-4)
    losses += [model.advance(CONTEXT) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_ridges_grow_with_frequency_and_absence_weighs_what_it_should(solver: str) -> None:
    model = fitted(regularization_scale=0.5, unobserved_weight=0.25, weighted=True, solver=solver, cg_steps=6)
    weights = confidence(weighted=True) - 0.75
    items = model.item_vectors().double().numpy()
    found = model.user_vectors(HISTORIES).numpy()
    for user, total in ((0, 6.0), (2, 6.0), (3, 9.0)):
        ridge = 0.5 * (2.0 * total + 0.25 * 6) ** 0.5
        system = items.T @ (weights[user][:, None] * items) + ridge * np.eye(3)
        wanted = np.linalg.solve(system, items.T @ (weights[user] * liked()[user]))
        np.testing.assert_allclose(found[user], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_enough_conjugate_gradients_make_the_same_passes_as_cholesky(weighted: bool) -> None:  # noqa: FBT001 - a parameter of the test
    made = [
        fitted(weighted=weighted, regularization_scale=1.0, solver=solver, cg_steps=6) for solver in ("cg", "cholesky")
    ]
    torch.testing.assert_close(made[0].item_vectors(), made[1].item_vectors(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_the_loss_counts_ridges_that_grow(solver: Literal["cg", "cholesky"]) -> None:
    config = ALSConfig(
        factors=3, regularization=0.5, alpha=2.0, solver=solver, cg_steps=2, regularization_scale=1.0,
        unobserved_weight=0.5,
    )  # fmt: skip
    model = ALS(config, 6)
    model.begin(DATA, CONTEXT)
    loss = model.advance(CONTEXT)
    people = model.training_state()["users"].double().numpy()
    items = model.item_vectors().double().numpy()
    errors = (confidence(weighted=False) - 0.5) * (liked() - people @ items.T) ** 2
    of_users = 0.5 * (2.0 * liked().sum(axis=1) + 0.5 * 6)
    of_items = 0.5 * (2.0 * liked().sum(axis=0) + 0.5 * 5)
    ridge = of_users @ (people**2).sum(axis=1) + of_items @ (items**2).sum(axis=1)
    assert loss == pytest.approx((errors.sum() + ridge) / 10, rel=1e-4)


def test_an_item_without_users_gets_a_zero_vector() -> None:
    assert fitted().item_vectors()[5].tolist() == [0, 0, 0]


def test_equations_that_cannot_be_solved_say_so() -> None:
    with pytest.raises(ModelError) as error:
        fitted(factors=4, alpha=1e30, regularization=1e-30, solver="cholesky")
    assert str(error.value) == (
        "als cannot solve for its vectors with regularization 1e-30 and alpha 1e+30; raise regularization or lower "
        "alpha."
    )


def test_parameters_count_passes() -> None:
    assert ALS(ALSConfig(iterations=7), 3).epochs == 7
