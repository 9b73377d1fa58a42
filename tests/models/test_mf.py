from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData, check_needs
from recloop.models.mf import MF, MFConfig

QUICK = {"factors": 6, "iterations": 12, "regularization": 0.02, "shrink": 1.0}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = replace(
    Contexts.from_lists([[0, 1, 3], [], [1, 2], [2, 0, 3, 4], [4]]),
    values=np.array([5, 3, 1, 4, 2, 1, 5, 2, 3, 4], dtype=np.float32),
)
DATA = TrainingData(histories=HISTORIES, n_items=6)
PARAMETERS = {"factors": 2, "regularization": 0.3, "shrink": 2.0, "iterations": 3}


def fitted() -> MF:
    model = MF(MFConfig.model_validate(PARAMETERS), 6)
    model.fit(DATA, CONTEXT)
    return model


def test_fold_in_is_the_exact_minimiser() -> None:
    model = fitted()
    learnt = {name: tensor.double().numpy() for name, tensor in model.tensors().items()}
    for person in (0, 2, 3, 4):
        rated = slice(HISTORIES.offsets[person], HISTORIES.offsets[person + 1])
        items, ratings = HISTORIES.items[rated], HISTORIES.values[rated]
        features = np.column_stack([np.ones(len(items)), learnt["items"][items]])
        ridge = np.diag([2.0, 0.3 * len(items), 0.3 * len(items)])
        wanted = np.linalg.solve(
            features.T @ features + ridge, features.T @ (ratings - learnt["mean"] - learnt["biases"][items])
        )
        scores = learnt["mean"] + wanted[0] + learnt["biases"] + learnt["items"] @ wanted[1:]
        np.testing.assert_allclose(model.score(HISTORIES)[person].numpy(), scores, rtol=1e-5)


def test_strangers_and_unrated_items_tend_to_the_mean() -> None:
    model = fitted()
    tensors = model.tensors()
    assert tensors["mean"].item() == pytest.approx(3.0)
    nobody = model.score(Contexts.from_lists([[]]))[0]
    torch.testing.assert_close(nobody, 3 + tensors["biases"])
    assert nobody[5].item() == pytest.approx(3.0)
    biases = model.user_vectors(HISTORIES)[:, 0]
    torch.testing.assert_close(model.score(HISTORIES)[:, 5], biases)


def test_the_loss_is_the_objective_and_falls() -> None:
    model = MF(MFConfig.model_validate(PARAMETERS), 6)
    model.begin(DATA, CONTEXT)
    people = model.user_vectors(HISTORIES).double().numpy()
    losses = [model.advance(CONTEXT)]
    items = {name: tensor.double().numpy() for name, tensor in model.tensors().items()}
    rows = HISTORIES.rows
    predicted = (people[rows, 2:] * items["items"][HISTORIES.items]).sum(axis=1)
    errors = HISTORIES.values - people[rows, 0] - items["biases"][HISTORIES.items] - predicted
    counts = np.bincount(HISTORIES.items, minlength=6)
    ridge = 0.3 * ((HISTORIES.lengths @ people[:, 2:] ** 2).sum() + (counts @ items["items"] ** 2).sum())
    ridge += 2.0 * (((people[:, 0] - 3) ** 2).sum() + (items["biases"] ** 2).sum())
    assert losses[0] == pytest.approx(((errors**2).sum() + ridge) / 10, rel=1e-4)
    losses += [model.advance(CONTEXT) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)


def test_likeness_leaves_biases_out() -> None:
    model = fitted()
    first, second = model.tensors()["items"][:2]
    cosine = (first @ second / (first.norm() * second.norm())).item()
    assert model.similar([0])[0, 1].item() == pytest.approx(cosine, rel=1e-5)


def test_ratings_that_are_all_alike_are_refused_before_training() -> None:
    alike = TrainingData(histories=Contexts.from_lists([[0, 1], [1]]), n_items=2)
    with pytest.raises(ModelError) as error:
        check_needs(MF, alike)
    assert str(error.value) == "mf needs ratings, but all values are 1; give real values or leave the model out."


def test_equations_that_cannot_be_solved_say_so() -> None:
    model = MF(MFConfig(factors=4, regularization=1e-30, shrink=1e-30), 6)
    with pytest.raises(ModelError) as error:
        model.fit(DATA, CONTEXT)
    assert str(error.value) == "mf cannot solve for its vectors with regularization 1e-30; raise it."
