from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from recloop.metrics.base import Slates
from recloop.metrics.diversity import diversity


def test_values_by_hand(slates: Slates) -> None:
    # items 0 and 1 are alike, 2 is unlike both, 3 has a cosine of 1 / sqrt(2) with each
    half = 1 / np.sqrt(2)
    values = diversity(slates, 4)
    assert values[0] == pytest.approx(1 - (1 + 0 + half + 0 + half + half) / 6)
    assert diversity(slates, 3)[0] == pytest.approx(2 / 3)


def test_items_without_features_are_left_out(slates: Slates) -> None:
    assert diversity(slates, 3)[1] == pytest.approx(0)


def test_fewer_than_two_items_are_undefined(slates: Slates) -> None:
    assert np.isnan(diversity(slates, 4)[2])
    assert np.isnan(diversity(slates, 1)).all()


def test_without_features_everything_is_undefined(slates: Slates) -> None:
    assert np.isnan(diversity(replace(slates, features=None), 4)).tolist() == [True, True, True]


def test_it_agrees_with_looking_at_every_pair() -> None:
    random = np.random.default_rng(5)
    features = random.random((7, 3)) * (random.random((7, 3)) < 0.7) + 0.01
    items = np.stack([random.permutation(7)[:4] for _ in range(5)])
    slates = Slates(items=items, popularity=np.ones(7, dtype=np.int64), features=sparse.csr_matrix(features))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = [np.mean([1 - unit[a] @ unit[b] for i, a in enumerate(row) for b in row[i + 1 :]]) for row in items]
    assert diversity(slates, 4).tolist() == pytest.approx(expected)
