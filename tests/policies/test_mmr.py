"""Five candidates with relevance 1, 0.9, 0.5, 0.4, 0; the first two are alike."""

from typing import Literal

import numpy as np
import pytest

from recloop.policies import mmr
from tests.support.slates import candidates

VECTORS = np.array([[2, 0, 0], [1, 0, 0], [0, 3, 0], [0, 4, 3], [0, 0, 0]], dtype=np.float32)
CATEGORIES = np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5], [0, 0]])
GIVEN = candidates(10.0, 9.0, 5.0, 4.0, 0.0, vectors=VECTORS, categories=CATEGORIES)


@pytest.mark.parametrize(
    ("similarity", "relevance", "order"),
    [
        ("vectors", 1.0, [0, 1, 2, 3, 4]),
        # Second place: 0.45 - 0.5, 0.25, 0.2, 0; third: -0.05, 0.2 - 0.5 * 0.8, 0; fourth: -0.05, -0.2.
        ("vectors", 0.5, [0, 2, 4, 1, 3]),
        # Second place: 0.45 - 0.5, 0.25, 0.2 - 0.5 / 2, 0; third: -0.05, -0.05, 0; then the better of equals.
        ("categories", 0.5, [0, 2, 4, 1, 3]),
        ("categories", 0.0, [0, 2, 4, 3, 1]),
    ],
)
def test_trades_relevance_against_likeness(
    similarity: Literal["vectors", "categories"], relevance: float, order: list[int]
) -> None:
    config = mmr.Config(similarity=similarity, relevance=relevance)
    slate = mmr.slate(GIVEN, 5, config, np.random.default_rng(0))
    assert (slate.items - 100).tolist() == order
    assert slate.propensities.tolist() == [1.0] * 5


@pytest.mark.parametrize("similarity", ["vectors", "categories"])
def test_needs_what_the_similarity_is_computed_from(similarity: Literal["vectors", "categories"]) -> None:
    assert mmr.Config(similarity=similarity).needs == {similarity}
