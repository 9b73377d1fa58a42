"""Root mean squared error of predicted ratings."""

import numpy as np

from recloop.metrics.base import Floats, Predictions


def rmse(predictions: Predictions) -> Floats:
    """The root of the mean squared difference of predicted and given ratings, of each user, (U,); lower is better.

    Averaged over users, people with few ratings weigh as much as people with many: the number is not the one root over
    all ratings that competitions report.
    """
    return np.sqrt(predictions.mean((predictions.predicted - predictions.actual) ** 2))
