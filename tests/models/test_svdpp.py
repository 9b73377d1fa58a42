from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.svdpp import SVDPP, SVDPPConfig

QUICK = {"dim": 8, "batch_size": 16, "learning_rate": 0.02, "epochs": 20, "shrink": 1.0, "regularization": 0.001}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = replace(Contexts.from_lists([[], [0, 2], [1]]), values=np.array([5, 1, 3], dtype=np.float32))
Q = np.array([[1.0, 0], [0, 1], [1, 2], [3, 1]])
X = np.array([[1.0, 1], [0, 2], [2, 0], [7, 7]])
Y = np.array([[0.5, 0], [0, 1], [1, 0], [7, 7]])
BIASES = np.array([0.5, 0, -1, 0.25])


def begun() -> SVDPP:
    model = SVDPP(SVDPPConfig(dim=2, shrink=3.0, regularization=0.1), 4)
    model.begin(TrainingData(histories=HISTORIES, n_items=4), CONTEXT)
    with torch.no_grad():
        for table, values in (("items", Q), ("rated", X), ("chosen", Y), ("biases", BIASES[:, None])):
            getattr(model.network, table).weight.copy_(torch.from_numpy(values))
    return model


def person(items: Sequence[int], ratings: Sequence[float]) -> tuple[float, np.ndarray]:
    """``b_u`` and ``p_u`` by the formulas, one rating after the other; the mean of all ratings is 3."""
    bias = sum(rating - 3 - BIASES[item] for item, rating in zip(items, ratings, strict=True)) / (3 + len(items))
    vector = np.zeros(2)
    for item, rating in zip(items, ratings, strict=True):
        vector += (rating - 3 - bias - BIASES[item]) * X[item] + Y[item]
    return bias, vector / max(1, len(items)) ** 0.5


def test_scores_by_hand() -> None:
    scores = begun().score(HISTORIES).numpy()
    for row, (items, ratings) in enumerate([([], []), ([0, 2], [5, 1]), ([1], [3])]):
        bias, vector = person(items, ratings)
        np.testing.assert_allclose(scores[row], 3 + bias + BIASES + Q @ vector, rtol=1e-5)


def test_training_leaves_out_the_rating_that_it_predicts() -> None:
    model = begun()
    total = 0.0
    for item, rating, rest in ((0, 5.0, ([2], [1.0])), (2, 1.0, ([0], [5.0]))):
        bias, vector = person(*rest)
        error = rating - 3 - bias - BIASES[item] - Q[item] @ vector
        total += error**2 + 0.1 * (BIASES[item] ** 2 + (Q[item] ** 2).sum() + (vector**2).sum())
    found = model.loss(np.array([0]), torch.Generator())
    assert found.item() == pytest.approx(total / 2, rel=1e-5)


def test_likeness_leaves_biases_out() -> None:
    assert begun().similar([0])[0].tolist() == pytest.approx([1, 0, 5**-0.5, 3 / 10**0.5])


def test_repeated_ratings_count_once_as_their_mean() -> None:
    model = begun()
    twice = replace(Contexts.from_lists([[1, 0, 1]]), values=np.array([2, 5, 4], dtype=np.float32))
    once = replace(Contexts.from_lists([[0, 1]]), values=np.array([5, 3], dtype=np.float32))
    torch.testing.assert_close(model.score(twice), model.score(once))
