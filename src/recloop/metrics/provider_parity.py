"""Exposure over share of the catalogue, of the provider who fares worst, at k."""

from recloop.metrics.base import Slates


def provider_parity(slates: Slates, k: int) -> float:
    """The least that a provider got of the first `k` places, relative to its share of the catalogue.

    ``min over p of e_p / c_p`` with ``e_p = E_p / sum of E`` and ``c_p = I_p / sum of I``, where E_p counts the places
    of all slates that items of provider p took, and I_p its items in the catalogue. 0 where a provider was never shown,
    1 where all got what their catalogue would get by chance; it is never above 1. Items without a known provider are
    left out. NaN where no place has a provider. It grows with the number of slates: compare it at equal numbers only.
    """
    exposed, owned = slates.provider_shares(k)
    return float((exposed / owned).min()) if len(exposed) else float("nan")
