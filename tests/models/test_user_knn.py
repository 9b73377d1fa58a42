from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models import user_knn
from recloop.models.base import FitContext, TrainingData
from recloop.models.user_knn import UserKNN, UserKNNConfig
from recloop.nn.gram import product_blocks

QUICK = {"neighbors": 20, "shrink": 1}
CONTEXT = FitContext(device=torch.device("cpu"))
HISTORIES = replace(
    Contexts.from_lists([[0, 1], [0, 1, 1, 2], [0, 3], [2, 3]]),
    values=np.array([5, 1, 4, 1, 3, 3, 2, 4, 1, 5], dtype=np.float32),
)
"""Mean ratings: of the people 3, 3, 3 and 3; of items 0 to 3 they are 11/3, 3/2, 2 and 9/2; item 4 has none."""


def fitted(**parameters: object) -> UserKNN:
    plain = {"weighting": "none", "shrink": 0}
    model = UserKNN(UserKNNConfig.model_validate(plain | parameters), 5)
    model.fit(TrainingData(histories=HISTORIES, n_items=5), CONTEXT)
    return model


def test_scores_are_sums_of_the_cosines_of_who_took_an_item() -> None:
    first, second, third = 2 / 2, 2 / 6**0.5, 1 / 2
    scores = fitted().score(Contexts.from_lists([[0, 1, 0], [3]]))
    assert scores[0].tolist() == pytest.approx([first + second + third, first + second, second, third, 0])
    assert scores[1].tolist() == pytest.approx([0.5**0.5, 0, 0.5**0.5, 2 * 0.5**0.5, 0])


def test_shrink_adds_to_the_denominator() -> None:
    scores = fitted(shrink=3).score(Contexts.from_lists([[1]]))
    first, second = 1 / (2**0.5 + 3), 1 / (3**0.5 + 3)
    assert scores[0].tolist() == pytest.approx([first + second, first + second, second, 0, 0])


def test_only_the_nearest_people_speak() -> None:
    assert fitted(neighbors=1).score(Contexts.from_lists([[0, 1]])).tolist() == [pytest.approx([1, 1, 0, 0, 0])]


def test_who_is_like_nobody_gets_the_number_of_users() -> None:
    assert fitted().score(Contexts.from_lists([[], [4]])).tolist() == [[3, 2, 2, 2, 0]] * 2


def test_tfidf_lets_frequent_items_count_less() -> None:
    scores = fitted(weighting="tfidf").score(Contexts.from_lists([[0, 2]]))
    often, seldom = np.log1p(4 / 3) ** 2, np.log1p(4 / 2) ** 2
    own = (often + seldom) ** 0.5
    likeness = [
        often / own / (often + seldom) ** 0.5,
        (often + seldom) / own / (often + 2 * seldom) ** 0.5,
        often / own / (often + seldom) ** 0.5,
        seldom / own / (2 * seldom) ** 0.5,
    ]
    assert scores[0, 3].item() == pytest.approx(likeness[2] + likeness[3])
    assert scores[0, 1].item() == pytest.approx(likeness[0] + likeness[1])


def test_bm25_saturates_repeats() -> None:
    often, seldom = np.log1p(4 / 3), np.log1p(4 / 2)
    longest = 1.2 * (0.25 + 0.75 * 4 / 2.5)
    row = np.array([often * 2.2 / (1 + longest), seldom * 4.4 / (2 + longest), seldom * 2.2 / (1 + longest)])
    scores = fitted(weighting="bm25", neighbors=1).score(Contexts.from_lists([[2, 1]]))
    assert scores[0].nonzero().ravel().tolist() == [0, 1, 2]
    assert scores[0, 0].item() == pytest.approx(row[1:].sum() / 2**0.5 / np.linalg.norm(row))


def rated(items: list[int], values: list[float]) -> Contexts:
    return replace(Contexts.from_lists([items]), values=np.array(values, dtype=np.float32))


def test_pearson_centres_each_person() -> None:
    scores = fitted(similarity="pearson").score(rated([0, 1], [4, 2]))
    second = np.array([1, -1, 0])  # 4, 2 and 3, less 3
    likeness = [1, (second @ [1, -1, 0]) / (2**0.5 * np.linalg.norm(second))]
    assert scores[0].tolist() == pytest.approx([sum(likeness), sum(likeness), likeness[1], 0, 0])


def test_people_of_opposite_taste_do_not_speak() -> None:
    scores = fitted(similarity="pearson").score(rated([0, 1], [2, 4]))
    assert scores[0].nonzero().ravel().tolist() == [0, 3]


def test_adjusted_cosine_centres_each_item() -> None:
    scores = fitted(similarity="adjusted_cosine").score(rated([0, 4], [5, 1]))
    middle = np.array([11 / 3, 3 / 2, 2, 9 / 2])
    own = np.array([5 - 11 / 3, 1 - (5 + 1 + 4 + 2 + 3 + 2 + 4 + 1 + 5) / 9])
    own = own[0] / np.linalg.norm(own)
    people = [np.array([5, 1]) - middle[[0, 1]], np.array([4, 2, 3]) - middle[[0, 1, 2]]]
    likeness = [own * one[0] / np.linalg.norm(one) for one in people]
    assert scores[0].tolist() == pytest.approx([sum(likeness), sum(likeness), likeness[1], 0, 0], rel=1e-5)


@pytest.mark.parametrize("similarity", ["pearson", "adjusted_cosine"])
def test_ratings_that_are_all_alike_are_refused(similarity: str) -> None:
    model = UserKNN(UserKNNConfig.model_validate({"similarity": similarity}), 2)
    with pytest.raises(ModelError) as error:
        model.fit(TrainingData(histories=Contexts.from_lists([[0, 1]]), n_items=2), CONTEXT)
    assert str(error.value) == (
        f"user_knn with similarity {similarity} needs ratings, but all values are 1; give real values or set its "
        "similarity to cosine."
    )


@pytest.mark.parametrize("similarity", ["cosine", "pearson", "adjusted_cosine"])
def test_stored_and_in_small_blocks_it_scores_the_same(similarity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(similarity=similarity, weighting="bm25")
    whole = model.score(HISTORIES)
    again = UserKNN(model.config, 5)
    again.load_tensors(model.tensors())
    monkeypatch.setattr(user_knn, "product_blocks", partial(product_blocks, block_entries=3))
    assert torch.equal(again.score(HISTORIES), whole)
