import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.content_tfidf import ContentTFIDF, ContentTFIDFConfig
from recloop.models.popularity import Popularity, PopularityConfig
from tests.support.cold import auc_of_new_items, before_they_came
from tests.support.planted import N_ITEMS

QUICK = {}
CONTEXT = FitContext(device=torch.device("cpu"))
HISTORIES = Contexts.from_lists([[0, 1], [0], [2, 0, 0]])
TEXTS = ["war peace war", "peace", "love", "Love, war!", None]
DATA = TrainingData(histories=HISTORIES, n_items=5, items=pl.DataFrame({"title": TEXTS, "year": [1, 2, 3, 4, 5]}))
COUNTS = {"love": [0, 0, 1, 1, 0], "peace": [1, 1, 0, 0, 0], "war": [2, 0, 0, 1, 0]}
"""How often each word occurs in each text; every word is in two of the five."""


def fitted(data: TrainingData = DATA, **parameters: object) -> ContentTFIDF:
    model = ContentTFIDF(ContentTFIDFConfig.model_validate(parameters), data.n_items)
    model.fit(data, CONTEXT)
    return model


def test_tfidf_scores_are_cosines_of_profile_and_item() -> None:
    counts = np.array(list(COUNTS.values())).T
    weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * math.log(6 / 3)
    unit = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-30)
    profile = unit[1] + 0.5 * unit[0]
    wanted = unit @ profile / np.linalg.norm(profile)
    found = fitted(half_life=1.0).score(Contexts.from_lists([[0, 1], [3]]))
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-5)
    np.testing.assert_allclose(found[1].numpy(), unit @ unit[3], rtol=1e-5)


def test_bm25_scores_are_those_of_the_words_of_the_history() -> None:
    model = fitted(weighting="bm25", k1=1.5, b=0.5, half_life=None)
    rarity = math.log(1 + 3.5 / 2.5)
    lengths, mean = np.array([3, 1, 1, 2, 0]), 7 / 5
    wanted = np.zeros(5)
    for word, asked in (("peace", 1.0), ("war", 0.5)):
        times = np.array(COUNTS[word])
        wanted += asked * rarity * times * 2.5 / (times + 1.5 * (0.5 + 0.5 * lengths / mean))
    np.testing.assert_allclose(model.score(Contexts.from_lists([[0, 1]]))[0].numpy(), wanted, rtol=1e-5)


def test_rare_words_count_more() -> None:
    table = pl.DataFrame({"title": ["a b", "a", "a", "b"]})
    data = TrainingData(histories=Contexts.from_lists([[0]]), n_items=4, items=table)
    for weighting in ("tfidf", "bm25"):
        scores = fitted(data, weighting=weighting).score(Contexts.from_lists([[0]]))[0]
        assert scores[3] > scores[1] > 0


def test_new_events_count_more_than_old_ones() -> None:
    old, new = fitted(half_life=0.5).score(Contexts.from_lists([[1, 2], [2, 1]]))
    assert old[2] > old[1]
    assert new[1] > new[2]
    even = fitted(half_life=None).score(Contexts.from_lists([[1, 2]]))[0]
    torch.testing.assert_close(even[1], even[2])


def test_nobody_gets_the_number_of_users_and_items_without_text_nothing() -> None:
    scores = fitted().score(Contexts.from_lists([[], [4], [0]]))
    assert scores[0].tolist() == [3, 1, 1, 0, 0]
    assert scores[1].tolist() == [0, 0, 0, 0, 0]
    assert scores[2, 4] == 0


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_items_that_nobody_took_are_found_by_their_words(weighting: str) -> None:
    data = before_they_came()
    popularity = Popularity(PopularityConfig(), N_ITEMS)
    popularity.fit(data, CONTEXT)
    assert auc_of_new_items(popularity) == 0.5
    assert auc_of_new_items(fitted(data, weighting=weighting)) > 0.95


def test_without_text_the_column_is_asked_for() -> None:
    with pytest.raises(ModelError) as error:
        fitted(replace(DATA, items=None))
    assert str(error.value) == (
        "content_tfidf needs a column of text about items, such as a title or categories; add it to the table 'items' "
        "or leave the model out."
    )


def test_a_text_without_words_is_no_text() -> None:
    data = replace(DATA, items=pl.DataFrame({"title": ["...", "-", "!", "?", "/"]}))
    assert fitted(data).score(HISTORIES).tolist() == [[0] * 5] * 3
