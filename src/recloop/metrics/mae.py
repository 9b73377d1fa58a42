"""Mean absolute error of predicted ratings."""

import numpy as np

from recloop.metrics.base import Floats, Predictions


def mae(predictions: Predictions) -> Floats:
    """The mean absolute difference of predicted and given ratings, of each user, (U,); lower is better.

    Averaged over users, people with few ratings weigh as much as people with many.
    """
    return predictions.mean(np.abs(predictions.predicted - predictions.actual))
