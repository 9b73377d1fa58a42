import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recloop.metrics.base import Slates
from recloop.metrics.provider_parity import provider_parity


def test_equal_exposure_is_one() -> None:
    even = Slates(items=np.array([[0, 1, 2]]), popularity=np.ones(3, dtype=np.int64), providers=np.array([0, 1, 1]))
    assert provider_parity(even, 3) == 1.0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_it_stays_between_0_and_1(shown: list[int]) -> None:
    slates = Slates(
        items=np.array(shown)[:, None], popularity=np.ones(5, dtype=np.int64), providers=np.array([0, 1, 1, 2, 2])
    )
    assert 0 <= provider_parity(slates, 1) <= 1 + 1e-12
