from dataclasses import replace

import numpy as np
import pytest

from recloop.data.sequences import Contexts
from recloop.nn.ratings import mean, mean_ratings


def test_repeated_ratings_are_averaged_and_zero_is_a_rating() -> None:
    contexts = replace(Contexts.from_lists([[2, 0, 2], [], [1]]), values=np.array([5, 3, 2, 0], dtype=np.float32))
    ratings = mean_ratings(contexts, 4)
    assert ratings.toarray().tolist() == [[3, 0, 3.5, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert ratings.getnnz(axis=1).tolist() == [2, 0, 1]
    assert mean(ratings) == pytest.approx(6.5 / 3)
    assert mean(mean_ratings(Contexts.from_lists([[]]), 4)) == 0
