import numpy as np
import pytest

from recloop.metrics.base import Predictions
from recloop.metrics.rmse import rmse


def test_root_of_each_users_mean_square() -> None:
    predictions = Predictions(
        predicted=np.array([4.0, 2.0, 5.0]), actual=np.array([1.0, 2.0, 3.0]), users=np.array([0, 0, 1])
    )
    assert rmse(predictions).tolist() == pytest.approx([np.sqrt(9 / 2), 2.0])
