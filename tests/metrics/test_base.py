"""What metrics are computed from."""

import numpy as np
import pytest

from recloop.metrics.base import Predictions, Ranking, Slates


def test_targets_are_counted_and_owned(ranking: Ranking) -> None:
    assert len(ranking) == 4
    assert ranking.n_relevant.tolist() == [3, 1, 1, 5]
    assert ranking.owners.tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3, 3]
    assert ranking.total(np.arange(10)).tolist() == [3, 3, 4, 35]


def test_found_counts_ranks_below_the_cutoff(ranking: Ranking) -> None:
    assert ranking.found(1).tolist() == [1, 0, 0, 1]
    assert ranking.found(3).tolist() == [2, 0, 0, 3]
    assert ranking.found(10**9).tolist() == [2, 1, 0, 5]


def test_exposure_counts_places(slates: Slates) -> None:
    assert slates.exposure(2).tolist() == [2, 2, 0, 0, 0]
    assert slates.exposure(4).tolist() == [2, 2, 1, 1, 1]


def test_means_of_a_slate_leave_empty_places_out(slates: Slates) -> None:
    per_item = np.array([1.0, 2.0, 3.0, 4.0, 6.0])
    assert slates.mean(per_item, 3)[:2].tolist() == [2.0, 3.0]
    assert slates.mean(per_item, 4)[:2].tolist() == [2.5, 3.0]
    assert np.isnan(slates.mean(per_item, 4)[2])


def test_a_slate_must_be_long_enough(slates: Slates) -> None:
    with pytest.raises(AssertionError, match="the slates hold 4 items, fewer than 5"):
        slates.top(5)


def test_ratings_are_averaged_by_user() -> None:
    predictions = Predictions(
        predicted=np.array([1.0, 2.0, 3.0]), actual=np.array([1.0, 1.0, 1.0]), users=np.array([1, 0, 1])
    )
    assert predictions.mean(np.array([4.0, 5.0, 8.0])).tolist() == [5.0, 6.0]
