from functools import partial

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models import rp3beta
from recloop.models.base import FitContext, TrainingData
from recloop.models.rp3beta import RP3Beta, RP3BetaConfig
from recloop.nn.gram import product_blocks

QUICK = {"neighbors": 10}
CONTEXT = FitContext(device=torch.device("cpu"))
HISTORIES = Contexts.from_lists([[0, 1], [0, 1, 1, 2], [], [2, 0, 3, 1]])
"""Items 0 to 4 have 3, 3, 2, 1 and 0 users; the people have 2, 3, 0 and 4 items."""


def fitted(**parameters: object) -> RP3Beta:
    model = RP3Beta(RP3BetaConfig.model_validate(parameters), 5)
    model.fit(TrainingData(histories=HISTORIES, n_items=5), CONTEXT)
    return model


def walk(alpha: float, beta: float) -> np.ndarray:
    """The definition, step by step."""
    taken = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0] * 5, [1, 1, 1, 1, 0]])
    items, people = np.maximum(taken.sum(axis=0), 1), np.maximum(taken.sum(axis=1), 1)
    to_people = (taken / items).T ** alpha * taken.T
    to_items = (taken / people[:, None]) ** alpha * taken
    weights = to_people @ to_items / items**beta
    np.fill_diagonal(weights, 0)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(1, 0), (1, 0.6), (0.5, 1.5)])
def test_weights_are_the_normalised_walk(alpha: float, beta: float) -> None:
    scores = fitted(alpha=alpha, beta=beta).score(Contexts.from_lists([[0], [1], [2], [3], [4]]))
    np.testing.assert_allclose(scores, walk(alpha, beta), atol=1e-6)


def test_from_one_item_by_hand() -> None:
    scores = fitted(alpha=1, beta=1).score(Contexts.from_lists([[3]]))
    assert scores[0].tolist() == pytest.approx([2 / 7, 2 / 7, 3 / 7, 0, 0])


def test_kept_neighbours_share_the_row() -> None:
    scores = fitted(alpha=1, beta=0, neighbors=2).score(Contexts.from_lists([[0], [3]]))
    first, second = 1 / 2 + 1 / 3 + 1 / 4, 1 / 3 + 1 / 4
    expected = [0, first / (first + second), second / (first + second), 0, 0]
    assert scores[0].tolist() == pytest.approx(expected)
    assert np.count_nonzero(scores[1]) == 2


def test_scores_add_up_over_the_history_and_nobody_gets_popularity() -> None:
    scores = fitted().score(Contexts.from_lists([[0, 2, 0], [0], [2], []]))
    torch.testing.assert_close(scores[0], scores[1] + scores[2])
    assert scores[3].tolist() == [3, 3, 2, 1, 0]


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted().tensors()
    monkeypatch.setattr(rp3beta, "product_blocks", partial(product_blocks, block_entries=7))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in fitted().tensors().items())
