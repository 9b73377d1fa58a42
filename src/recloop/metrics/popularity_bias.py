"""Popularity bias at k."""

from recloop.metrics.base import Floats, Slates


def popularity_bias(slates: Slates, k: int) -> Floats:
    """How much more popular the recommended items are than what people chose in training, relatively, (E,).

    ``(mean over the first k items of n_i) / (mean over training events of n_i) - 1`` with n_i training events of item
    i, so the second mean is ``sum of n_i^2 / sum of n_i``. 0 means as popular as what was chosen, 1 twice as popular,
    below 0 less popular. NaN for an empty slate, or where there are no training events.

    After the popularity lift of Abdollahpouri et al., The connection between popularity bias, calibration, and fairness
    in recommendation, RecSys 2020, with training events in place of user profiles.
    """
    popularity = slates.popularity.astype(float)
    chosen = float(popularity @ popularity) / max(float(popularity.sum()), 1.0)
    return slates.mean(popularity / (chosen or float("nan")), k) - 1
