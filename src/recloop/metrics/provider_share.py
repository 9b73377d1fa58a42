"""The largest provider's share of exposure at k."""

from recloop.metrics.base import Slates


def provider_share(slates: Slates, k: int) -> float:
    """The share of the first `k` places that went to the provider who got most of them.

    ``max over p of e_p`` with ``e_p = E_p / sum of E``, where E_p counts the places of all slates that items of
    provider p took. Between 1 / P and 1, which means that one of P providers got everything. Places of items without a
    known provider are left out. NaN where no place has a provider.
    """
    exposed, _ = slates.provider_shares(k)
    return float(exposed.max()) if len(exposed) else float("nan")
