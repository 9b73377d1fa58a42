from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.nmf import NMF, NMFConfig, descend

QUICK = {"factors": 6, "iterations": 20, "regularization": 0.5}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = replace(
    Contexts.from_lists([[0, 1, 3], [], [1, 2], [2, 0, 3, 4], [4]]),
    values=np.array([5, 3, 1, 4, 2, 1, 5, 2, 3, 4], dtype=np.float32),
)
DATA = TrainingData(histories=HISTORIES, n_items=6)


def new(**parameters: object) -> NMF:
    return NMF(NMFConfig.model_validate({"factors": 3, "regularization": 0.2, "iterations": 5} | parameters), 6)


def fitted(**parameters: object) -> NMF:
    model = new(**parameters)
    model.fit(DATA, CONTEXT)
    return model


def test_descent_steps_by_hand() -> None:
    system = torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    targets = torch.tensor([[4.0, 1.0], [-1.0, 8.0], [1.0, 5.0]])
    once = descend(system, targets, torch.zeros(3, 2), 1)
    assert once.tolist() == [[2, 0], [0, 2], [0.5, 1.125]]
    each = descend(system.expand(3, 2, 2), targets, torch.zeros(3, 2), 1)
    assert torch.equal(each, once)


def equations(model: NMF, person: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of the person's least squares, the ridge being its last three rows."""
    items, prior = model.item_vectors().double().numpy(), model.tensors()["prior"].item()
    rated = slice(HISTORIES.offsets[person], HISTORIES.offsets[person + 1])
    if model.config.feedback == "explicit":
        features, targets = items[HISTORIES.items[rated]], HISTORIES.values[rated].astype(np.float64)
    else:
        features, targets = items, np.zeros(6)
        targets[HISTORIES.items[rated]] = 1
    return np.vstack([features, 0.2**0.5 * np.eye(3)]), np.concatenate([targets, np.full(3, 0.2**0.5 * prior)])


@pytest.mark.parametrize("feedback", ["implicit", "explicit"])
def test_fold_in_minimises_without_negative_parts(feedback: str) -> None:
    model = fitted(feedback=feedback)
    found = model.user_vectors(HISTORIES).double().numpy()
    assert (found >= 0).all()
    for person in (0, 2, 3, 4):
        features, targets = equations(model, person)
        np.testing.assert_allclose(found[person], nnls(features, targets)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("feedback", ["implicit", "explicit"])
def test_new_items_vectors_are_folded_in_with(feedback: str) -> None:
    model, other = fitted(feedback=feedback), new(feedback=feedback, iterations=1)
    other.fit(DATA, CONTEXT)
    other.load_tensors(model.tensors())
    assert torch.equal(other.user_vectors(HISTORIES), model.user_vectors(HISTORIES))


@pytest.mark.parametrize("feedback", ["implicit", "explicit"])
def test_the_loss_is_the_objective_and_falls(feedback: str) -> None:
    model = new(feedback=feedback)
    model.begin(DATA, CONTEXT)
    losses = [model.advance(CONTEXT)]
    people = model.training_state()["users"].double().numpy()
    items = model.item_vectors().double().numpy()
    wanted, counted = np.zeros((5, 6)), np.ones((5, 6))
    wanted[HISTORIES.rows, HISTORIES.items] = HISTORIES.values if feedback == "explicit" else 1
    if feedback == "explicit":
        counted = wanted > 0
    prior = model.tensors()["prior"].item()
    assert prior == pytest.approx(1.0 if feedback == "explicit" else 0.0)
    objective = (counted * (wanted - people @ items.T) ** 2).sum()
    objective += 0.2 * (((people - prior) ** 2).sum() + ((items - prior) ** 2).sum())
    assert losses[0] == pytest.approx(objective / 10, rel=1e-4)
    losses += [model.advance(CONTEXT) for _ in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert all((tensor >= 0).all() for tensor in model.tensors().values())


def test_ratings_of_what_is_not_known_tend_to_the_mean() -> None:
    model = fitted(feedback="explicit", regularization=1e4)
    torch.testing.assert_close(model.score(Contexts.from_lists([[], [5]])), torch.full((2, 6), 3.0), rtol=0.01, atol=0)


def test_nobody_gets_the_mean_of_the_training_users() -> None:
    model = fitted()
    users = model.training_state()["users"]
    assert users[1].tolist() == [0, 0, 0]
    torch.testing.assert_close(model.user_vectors(Contexts.from_lists([[]]))[0], users.sum(dim=0) / 5)
    assert model.item_vectors()[5].tolist() == [0, 0, 0]
