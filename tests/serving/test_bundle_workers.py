"""Which bundles serve, as `/metrics` shows it."""

from prometheus_client import REGISTRY

from recloop.serving import counters


def shown(bundle: str, part: str) -> float | None:
    labels = {"bundle": bundle, "model": "ease", "part": part}
    return REGISTRY.get_sample_value("recloop_bundle_workers", labels)


def test_a_bundle_that_left_the_traffic_counts_no_worker() -> None:
    first, both = {("old", "ease", "champion")}, {("old", "ease", "champion"), ("new", "ease", "canary")}
    counters.show_bundles(set(), first)
    assert (shown("old", "champion"), shown("new", "canary")) == (1, None)
    counters.show_bundles(first, both)
    assert (shown("old", "champion"), shown("new", "canary")) == (1, 1)
    counters.show_bundles(both, {("new", "ease", "champion")})
    assert (shown("old", "champion"), shown("new", "canary"), shown("new", "champion")) == (0, 0, 1)
