"""Helpers for the tests of slate policies: every slate that a policy can give, and how often it gives each."""

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np

from recloop.policies import Candidates, Policy, Slate


def candidates(*scores: float, **rest: Any) -> Candidates:
    """Candidates 100, 101 ... with these scores, which must fall."""
    assert list(scores) == sorted(scores, reverse=True), "candidates come best first"
    items = np.arange(100, 100 + len(scores), dtype=np.int64)
    return Candidates(items=items, scores=np.array(scores, dtype=np.float32), **rest)


def draws(policy: Policy, given: Candidates, k: int, seeds: int, **options: Any) -> list[Slate]:
    """The slates of the seeds 0, 1 ..."""
    config = policy.Config(**options)
    return [policy.slate(given, k, config, np.random.default_rng(seed)) for seed in range(seeds)]


def assert_frequencies_match(slates: list[Slate], given: Candidates, k: int, *, total: float = 1.0) -> None:
    """Each slate was drawn as often as its propensity says, within 4.5 standard deviations.

    All slates that were drawn with the same items must state the same propensities, and those of all slates that can be
    drawn, if all were, sum to `total`.
    """
    counts = Counter(tuple(slate.items.tolist()) for slate in slates)
    stated = {tuple(slate.items.tolist()): slate for slate in slates}
    possible = set(permutations(given.items.tolist(), min(k, len(given))))
    assert set(counts) <= possible
    for slate in slates:
        np.testing.assert_allclose(slate.propensities, stated[tuple(slate.items.tolist())].propensities)
    for items, count in counts.items():
        chance = stated[items].slate_propensity
        deviation = (len(slates) * chance * (1 - chance)) ** 0.5
        assert abs(count - len(slates) * chance) <= 4.5 * deviation + 1e-9, (items, count, chance)
    if set(counts) == possible:
        np.testing.assert_allclose(sum(slate.slate_propensity for slate in stated.values()), total)
