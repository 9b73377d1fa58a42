from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models import item_knn
from recloop.models.base import FitContext, TrainingData
from recloop.models.item_knn import ItemKNN, ItemKNNConfig
from recloop.nn.gram import product_blocks

CONTEXT = FitContext(device=torch.device("cpu"))
HISTORIES = Contexts.from_lists([[0, 1], [0, 1, 1, 2], [0, 3], [2, 3]])
"""Items 0, 1, 2, 3 have 3, 2, 2, 2 users; they share 0-1: 2, 0-2: 1, 0-3: 1, 1-2: 1, 2-3: 1 users."""


def fitted(**parameters: object) -> ItemKNN:
    model = ItemKNN(ItemKNNConfig.model_validate({"weighting": "none"} | parameters), 5)
    model.fit(TrainingData(histories=HISTORIES, n_items=5), CONTEXT)
    return model


def test_similarity_is_the_shrunk_cosine() -> None:
    scores = fitted(shrink=1).score(Contexts.from_lists([[0], [1], [4]]))
    root = 6**0.5
    expected = [[0, 2 / (root + 1), 1 / (root + 1), 1 / (root + 1), 0], [2 / (root + 1), 0, 1 / 3, 0, 0], [0] * 5]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_only_the_nearest_neighbours_are_kept() -> None:
    model = fitted(shrink=0, neighbors=1)
    assert model.tensors()["offsets"].tolist() == [0, 1, 2, 3, 4, 4]
    torch.testing.assert_close(
        model.score(Contexts.from_lists([[0], [3]])), torch.tensor([[0, 2 / 6**0.5, 0, 0, 0], [0, 0, 0.5, 0, 0]])
    )


def test_the_neighbours_of_candidates_may_count_instead() -> None:
    """The nearest of 0 is 1, of 1 is 0, of 2 is 3, of 3 is 2: item 2 speaks for 3, which it would not for 0."""
    model = fitted(shrink=0, neighbors=2, whose="candidate")
    full = fitted(shrink=0).score(Contexts.from_lists([[item] for item in range(5)])).T
    expected = torch.zeros(5, 5)
    for candidate in range(4):
        best = full[candidate].topk(2).indices
        expected[best, candidate] = full[candidate, best]
    torch.testing.assert_close(model.score(Contexts.from_lists([[item] for item in range(5)])), expected)
    history = fitted(shrink=0, neighbors=2).score(Contexts.from_lists([[item] for item in range(5)]))
    assert not torch.equal(history, expected)


def test_scores_add_up_over_the_history_and_repeats_count_once() -> None:
    model = fitted()
    scores = model.score(Contexts.from_lists([[0, 2, 0], [0], [2]]))
    torch.testing.assert_close(scores[0], scores[1] + scores[2])


def test_nobody_gets_the_number_of_users() -> None:
    assert fitted().score(Contexts.from_lists([[]])).tolist() == [[3, 2, 2, 2, 0]]
    assert fitted(weighting="tfidf").score(Contexts.from_lists([[]])).tolist() == [[3, 2, 2, 2, 0]]


def test_tfidf_lets_busy_people_count_less() -> None:
    scores = fitted(weighting="tfidf", shrink=0).score(Contexts.from_lists([[0]]))
    two, three = np.log1p(5 / 2) ** 2, np.log1p(5 / 3) ** 2
    lengths = np.sqrt([two + three + two, two + three])
    assert scores[0, 1].item() == pytest.approx((two + three) / lengths.prod())


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted().tensors()
    monkeypatch.setattr(item_knn, "product_blocks", partial(product_blocks, block_entries=7))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in fitted().tensors().items())


RATED = replace(
    Contexts.from_lists([[0, 1], [0, 1, 1, 2], [1, 0], [2, 3]]),
    values=np.array([5, 1, 4, 1, 3, 3, 1, 3, 2, 4], dtype=np.float32),
)
"""Ratings of items 0 to 3, the mean of repeats: 5, 1, -, - by the first user; 4, 2, 3, -; 3, 1, -, -; -, -, 2, 4."""


def rated(**parameters: object) -> torch.Tensor:
    model = ItemKNN(ItemKNNConfig.model_validate({"weighting": "none", "shrink": 0} | parameters), 5)
    model.fit(TrainingData(histories=RATED, n_items=5), CONTEXT)
    return model.score(Contexts.from_lists([[0], [1], [2], [3], [4]]))


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Positive cosines of the columns, (5, 5), without the diagonal; 0 for columns of zeros."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=0), 1e-9)
    found = np.maximum(vectors.T @ vectors / np.outer(lengths, lengths), 0)
    np.fill_diagonal(found, 0)
    return found


ADJUSTED = np.array([[2, -2, 0, 0, 0], [1, -1, 0, 0, 0], [1, -1, 0, 0, 0], [0, 0, -1, 1, 0]])
PEARSON = np.array([[1, -1 / 3, 0, 0, 0], [0, 2 / 3, 1 / 2, 0, 0], [-1, -1 / 3, 0, 0, 0], [0, 0, -1 / 2, 0, 0]])


def test_adjusted_cosine_takes_off_the_mean_of_the_user() -> None:
    np.testing.assert_allclose(rated(similarity="adjusted_cosine"), cosines(ADJUSTED), atol=1e-6)


def test_pearson_takes_off_the_mean_of_the_item() -> None:
    scores = rated(similarity="pearson")
    np.testing.assert_allclose(scores, cosines(PEARSON), atol=1e-6)
    assert scores[1, 2] > 0


def test_weights_multiply_centred_ratings() -> None:
    weights = np.log1p(5 / np.array([2, 3, 2, 2]))[:, None]
    np.testing.assert_allclose(rated(similarity="pearson", weighting="tfidf"), cosines(weights * PEARSON), atol=1e-6)


def test_bm25_saturates_repeats_and_popular_items() -> None:
    counts = np.array([[1, 1, 0, 0, 0], [1, 2, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]])
    relative = 0.25 + 0.75 * counts.sum(axis=0) / 2
    entries = np.log1p(5 / np.array([2, 3, 2, 2]))[:, None] * 2.2 * counts / (counts + 1.2 * relative)
    np.testing.assert_allclose(rated(weighting="bm25"), cosines(entries), atol=1e-6)


@pytest.mark.parametrize("similarity", ["pearson", "adjusted_cosine"])
def test_ratings_that_are_all_alike_are_refused(similarity: str) -> None:
    with pytest.raises(ModelError) as error:
        fitted(similarity=similarity)
    assert str(error.value) == (
        f"item_knn with similarity {similarity} needs ratings, but all values are 1; give real values or set its "
        "similarity to cosine."
    )
