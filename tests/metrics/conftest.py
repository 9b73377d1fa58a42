"""Rankings and slates that the metrics' tests share; every axis has its own size."""

import numpy as np
import pytest
from scipy import sparse

from recloop.metrics.base import UNRANKED, Ranking, Slates


@pytest.fixture
def ranking() -> Ranking:
    """Four examples.

    The first finds two of three answers early, the second has one answer at rank 4, the third's one answer is not in
    the catalogue, and the fourth has five answers at the very top.
    """
    return Ranking(
        ranks=np.array([2, UNRANKED, 0, 4, UNRANKED, 1, 0, 3, 2, 4]),
        offsets=np.array([0, 3, 4, 5, 10]),
        n_candidates=np.array([7, 6, 5, 5]),
    )


@pytest.fixture
def nobody() -> Ranking:
    """No example at all."""
    empty = np.array([], dtype=np.int64)
    return Ranking(ranks=empty, offsets=np.array([0]), n_candidates=empty)


@pytest.fixture
def slates() -> Slates:
    """Three slates of four places over a catalogue of five items with two categories; the last slate is empty."""
    return Slates(
        items=np.array([[0, 1, 2, 3], [1, 0, 4, -1], [-1, -1, -1, -1]]),
        popularity=np.array([8, 4, 2, 2, 0]),
        features=sparse.csr_matrix(np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.float32)),
    )
