import numpy as np

from recloop.metrics.base import Predictions
from recloop.metrics.mae import mae


def test_mean_of_each_users_absolute_differences() -> None:
    predictions = Predictions(
        predicted=np.array([4.0, 2.0, 1.0]), actual=np.array([1.0, 2.0, 3.0]), users=np.array([0, 0, 1])
    )
    assert mae(predictions).tolist() == [1.5, 2.0]
