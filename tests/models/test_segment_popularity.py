from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.popularity import Popularity, PopularityConfig
from recloop.models.segment_popularity import SegmentPopularity, SegmentPopularityConfig
from tests.support.cold import auc_of_strangers
from tests.support.planted import N_ITEMS, data, planted

QUICK = {"segments": 5, "shrink": 10.0}
CONTEXT = FitContext(device=torch.device("cpu"), seed=2)
POETS, SMITHS = [[0, 0, 1], [0, 2]], [[3, 2]]


def people(*jobs: str | None) -> Features:
    return Features.from_frame(pl.DataFrame({"job": pl.Series(jobs, dtype=pl.String)}))


HISTORIES = replace(Contexts.from_lists([*POETS, *SMITHS, [1]]), features=people("poet", "poet", "smith", None))
SHARES = np.array([3, 2, 2, 1]) / 8


def fitted(**parameters: object) -> SegmentPopularity:
    config = SegmentPopularityConfig.model_validate({"segments": 2, "neighbors": 1, "shrink": 4.0} | parameters)
    model = SegmentPopularity(config, 4)
    model.fit(TrainingData(histories=HISTORIES, n_items=4), CONTEXT)
    return model


def asked(*jobs: str | None) -> Contexts:
    return replace(Contexts.from_lists([[]] * len(jobs)), features=people(*jobs))


def test_scores_are_shrunk_shares_of_the_own_segment() -> None:
    scores = fitted().score(asked("poet", "smith")).numpy()
    np.testing.assert_allclose(scores[0], (np.array([3, 1, 1, 0]) + 4 * SHARES) / (5 + 4), rtol=1e-5)
    np.testing.assert_allclose(scores[1], (np.array([0, 0, 1, 1]) + 4 * SHARES) / (2 + 4), rtol=1e-5)


def test_who_lies_between_segments_gets_of_each_in_proportion() -> None:
    poets = (np.array([3, 1, 1, 0]) + 4 * SHARES) / 9
    smiths = (np.array([0, 0, 1, 1]) + 4 * SHARES) / 6
    between = fitted(neighbors=2).score(asked("poet poet smith")).numpy()
    np.testing.assert_allclose(between[0], 2 / 3 * poets + 1 / 3 * smiths, rtol=1e-5)


@pytest.mark.parametrize("contexts", [asked(None), asked("baker"), Contexts.from_lists([[]])])
def test_whoever_is_unlike_all_segments_gets_the_shares_among_everybody(contexts: Contexts) -> None:
    np.testing.assert_allclose(fitted().score(contexts)[0].numpy(), SHARES, rtol=1e-6)


def test_the_history_plays_no_role() -> None:
    model = fitted()
    with_history = replace(Contexts.from_lists([[3, 3], [1]]), features=people("poet", "smith"))
    assert torch.equal(model.score(with_history), model.score(asked("poet", "smith")))


def test_no_more_segments_than_different_people() -> None:
    model = fitted(segments=50, neighbors=50)
    assert len(model.tensors()["centres"]) == 2
    torch.testing.assert_close(model.score(asked("poet")), fitted().score(asked("poet")))


def test_segments_join_people_who_are_alike() -> None:
    jobs = ["red round", "red square", "blue long", "blue tall", "red flat", "blue wide"]
    histories = replace(Contexts.from_lists([[0], [0], [1], [1], [0], [1]]), features=people(*jobs))
    model = SegmentPopularity(SegmentPopularityConfig(segments=2), 3)
    model.fit(TrainingData(histories=histories, n_items=3), CONTEXT)
    assert sorted(model.tensors()["counts"].tolist()) == [[0, 3, 0], [3, 0, 0]]
    np.testing.assert_allclose(model.tensors()["centres"].norm(dim=1), [1, 1], rtol=1e-5)


def test_one_pass_of_clustering_is_enough_to_answer() -> None:
    assert torch.isfinite(fitted(iterations=1).score(asked("poet"))).all()


def test_people_without_history_are_answered_better_than_by_popularity() -> None:
    world = data(planted())
    popularity = Popularity(PopularityConfig(), N_ITEMS)
    popularity.fit(world, CONTEXT)
    model = SegmentPopularity(SegmentPopularityConfig(), N_ITEMS)
    model.fit(world, CONTEXT)
    assert auc_of_strangers(popularity) == pytest.approx(0.5)
    assert auc_of_strangers(model) > 0.9


def test_without_attributes_of_people_the_table_is_asked_for() -> None:
    with pytest.raises(ModelError) as error:
        SegmentPopularity(SegmentPopularityConfig(), 4).fit(
            TrainingData(histories=replace(HISTORIES, features=None), n_items=4), CONTEXT
        )
    assert str(error.value) == (
        "segment_popularity needs attributes of people; add it to the table 'users' or leave the model out."
    )
