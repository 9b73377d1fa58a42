"""Three items, two people: a has three events, b one, c none; the newest event is four days after a's first."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ConfigError
from recloop.models import find
from recloop.policies import Clicks
from recloop.serving.bundle import Bundle
from recloop.serving.side import DAY, Side, shares
from tests.support.planted import quick


def bundle(**columns: Any) -> Bundle:
    vocabulary = Vocabulary(["a", "b", "c"])
    kind = find("popularity")
    histories = Contexts(
        offsets=np.array([0, 3, 4]),
        items=np.array([0, 1, 0, 0]),
        timestamps=np.array([5 * DAY, 8 * DAY, 9 * DAY, 6 * DAY]),
        values=np.ones(4, dtype=np.float32),
    )
    return Bundle(
        manifest={"id": "b-1"},
        model=kind(kind.Config(**quick("popularity")), 3),
        vocabulary=vocabulary,
        users=Vocabulary(["u", "v"]),
        histories=histories,
        items=pl.DataFrame({"item_id": ["a", "b", "c"], **columns}),
    )


def test_popularity_age_categories_and_clicks_of_the_candidates() -> None:
    needs = frozenset({"popularity", "age", "categories", "history_categories", "clicks"})
    clicks = Clicks(clicks=np.array([1.0, 2.0, 3.0]), examined=np.array([4.0, 5.0, 6.0]))
    side = Side.of(bundle(categories=[["x", "y"], ["y"], None]), needs, "any", clicks)
    given = side.candidates(
        np.array([2, 0]), np.array([0.9, 0.1], dtype=np.float32), np.array([0, 1, 2], dtype=np.int64)
    )
    assert given.popularity is not None
    assert given.popularity.tolist() == [0.0, 3.0]
    assert given.age is not None
    assert given.age.tolist() == [np.inf, 4.0]
    assert given.categories is not None
    assert given.categories.tolist() == [[0.0, 0.0], [0.5, 0.5]]
    assert given.history_categories is not None
    assert given.history_categories.tolist() == [0.25, 0.75]
    assert given.clicks is not None
    assert (given.clicks.clicks.tolist(), given.clicks.examined.tolist()) == ([3.0, 1.0], [6.0, 4.0])
    assert given.vectors is None


def test_a_cell_may_be_one_category() -> None:
    found = shares(pl.DataFrame({"item_id": ["a", "b", "c"], "categories": ["y", None, "x"]}))
    assert found is not None
    assert found.tolist() == [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("need", "sentence"),
    [
        ("vectors", r"b-1: the policy 'any' needs vectors, but its model has no item vectors; choose"),
        ("categories", r"needs categories, but its items have no column 'categories'; ingest"),
        ("history_categories", r"needs history_categories, but its items have no column 'categories'; ingest"),
        ("clicks", r"needs clicks, but it comes without click statistics; give them"),
        ("scored_clicks", r"needs scored_clicks, but it comes without click statistics of scores; give them"),
    ],
)
def test_a_bundle_that_lacks_what_a_policy_needs_is_refused(need: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Side.of(bundle(), frozenset({need}), "any")
