from dataclasses import replace

import numpy as np
import pytest

from recloop.metrics.base import Slates
from recloop.metrics.provider_parity import provider_parity
from recloop.metrics.provider_share import provider_share


@pytest.fixture
def owned(slates: Slates) -> Slates:
    """Items 0, 2 and 4 are of provider 0, item 1 is of provider 1, and that of item 3 is not known."""
    return replace(slates, providers=np.array([0, 1, 0, -1, 0]))


def test_values_by_hand(owned: Slates) -> None:
    # exposures at 4 are 2 2 1 1 1: provider 0 has 2 + 1 + 1 of 6 places, and provider 1 has 2
    assert provider_share(owned, 4) == pytest.approx(4 / 6)
    # of four items with a provider, provider 0 has 3: (4 / 6) / (3 / 4) is below (2 / 6) / (1 / 4)
    assert provider_parity(owned, 4) == pytest.approx((4 / 6) / (3 / 4))


def test_a_provider_that_is_never_shown(owned: Slates) -> None:
    apart = replace(owned, providers=np.array([0, 0, 0, 0, 1]))
    assert (provider_share(apart, 2), provider_parity(apart, 2)) == (1.0, 0.0)


def test_undefined_without_providers_or_places(slates: Slates, owned: Slates) -> None:
    nowhere = replace(owned, items=np.full((2, 3), -1))
    for given in (slates, nowhere, replace(slates, providers=np.full(5, -1))):
        assert np.isnan(provider_share(given, 2))
        assert np.isnan(provider_parity(given, 2))
