"""Small worlds whose truth is known: estimates are right on average, and intervals hold it as often as they say.

The number of intervals, of `SEEDS` logs, that hold the truth is a binomial draw of probability 0.95 if they are right;
each test takes any number within the central 99.9% of that distribution.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from recloop.evaluation.off_policy import (
    Estimate,
    Log,
    OffPolicyConfig,
    RefusedError,
    SlateLog,
    cascade,
    clipped_ips,
    doubly_robust,
    ips,
    item_position,
    mean_by_action,
    moments_of,
    pseudo_inverse,
    snips,
)

SEEDS = 400
# Among so many logs some would be refused for the mean of their weights.
TRUSTING = OffPolicyConfig(trust_level=1 - 1e-7)
FEWEST, MOST = binom.ppf([0.0005, 0.9995], SEEDS, 0.95)
Floats = NDArray[np.float64]


def held(truth: float, found: list[Estimate]) -> int:
    return sum(estimate.low <= truth <= estimate.high for estimate in found)


def centred(truth: float, found: list[Estimate]) -> bool:
    """Whether the mean of the estimates lies within 3.3 of its standard errors of the truth."""
    values = np.array([estimate.value for estimate in found])
    return abs(values.mean() - truth) < 3.3 * values.std() / np.sqrt(len(values))


class Shelf:
    """Three kinds of people, five items, one shown at a time; clicks are rare and depend on both."""

    def __init__(self, rate: float) -> None:
        random = np.random.default_rng(7)
        self.people = np.array([0.5, 0.3, 0.2])
        self.clicks = rate * random.uniform(0.1, 1.9, (3, 5))
        self.logging = 0.1 + 0.5 * random.dirichlet(np.full(5, 2.0), 3)
        self.target = random.dirichlet(np.full(5, 1.0), 3)
        self.value = float(self.people @ (self.target * self.clicks).sum(axis=1))

    def draw(self, rows: int, seed: int) -> tuple[Log, Floats, NDArray[np.int64]]:
        random = np.random.default_rng(seed)
        who = random.choice(3, rows, p=self.people)
        item = (random.random(rows)[:, None] > self.logging[who].cumsum(axis=1)).sum(axis=1).clip(max=4)
        clicked = (random.random(rows) < self.clicks[who, item]).astype(np.float64)
        log = Log(rewards=clicked, propensities=self.logging[who, item], targets=self.target[who, item])
        return log, self.target[who], item


@pytest.mark.parametrize(("rate", "rows"), [(0.4, 400), (0.05, 1000)])
def test_intervals_of_single_actions_hold_the_truth(rate: float, rows: int) -> None:
    shelf = Shelf(rate)
    found: dict[str, list[Estimate]] = {"ips": [], "snips": [], "doubly_robust": [], "clipped_ips": []}
    for seed in range(SEEDS):
        log, target, item = shelf.draw(rows, seed)
        predicted = mean_by_action(log.rewards, item, target, seed=seed)
        for one in (
            ips(log, TRUSTING),
            snips(log, TRUSTING),
            doubly_robust(log, predicted, TRUSTING),
            clipped_ips(log, TRUSTING),
        ):
            found[one.method].append(one)
    for estimates in found.values():
        assert FEWEST <= held(shelf.value, estimates) <= MOST
        assert centred(shelf.value, estimates)
    misses = {
        method: np.mean([(one.value - shelf.value) ** 2 for one in estimates]) for method, estimates in found.items()
    }
    assert misses["doubly_robust"] <= misses["ips"]
    assert np.mean([one.error for one in found["doubly_robust"]]) <= np.mean([one.error for one in found["ips"]])


def test_clipping_is_low_by_no_more_than_it_says() -> None:
    shelf, loose = Shelf(0.4), OffPolicyConfig(clip=1.5, max_unseen=0.9)
    found = [clipped_ips(shelf.draw(400, seed)[0], loose) for seed in range(50)]
    low = shelf.value - np.mean([one.value for one in found])
    assert 0.02 < low < np.mean([one.overlap.clipped for one in found])


def test_wrong_propensities_are_noticed_and_right_ones_are_not_suspected() -> None:
    shelf, refused = Shelf(0.4), 0
    for seed in range(SEEDS):
        log, _, _ = shelf.draw(400, seed)
        try:
            ips(log)
        except RefusedError:
            refused += 1
        wrong = Log(rewards=log.rewards, propensities=np.minimum(1.5 * log.propensities, 1), targets=log.targets)
        with pytest.raises(RefusedError) as refusal:
            ips(wrong)
        assert refusal.value.floor == "trust_level"
    assert refused <= binom.ppf(0.9995, SEEDS, 0.001)


def test_people_who_click_a_lot_need_clusters() -> None:
    """Ten rows of one person are alike: the interval that knows it holds the truth, the other one does not."""
    shelf = Shelf(0.4)
    apart: list[Estimate] = []
    joined: list[Estimate] = []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        log, _, _ = shelf.draw(2000, seed)
        person = np.arange(2000) // 10
        # A person's clicks all count double or not at all, which keeps their mean.
        rewards = log.rewards * 2 * random.integers(2, size=200)[person]
        given: dict[str, Any] = {"rewards": rewards, "propensities": log.propensities, "targets": log.targets}
        apart.append(ips(Log(**given), TRUSTING))
        joined.append(ips(Log(**given, clusters=person), TRUSTING))
    assert FEWEST <= held(shelf.value, joined) <= MOST
    assert held(shelf.value, apart) < FEWEST


SLATES = np.array(list(permutations(range(4), 2)))
MERITS = np.array([[2.0, 1.5, 1.0, 0.8], [0.7, 1.0, 1.2, 2.0]])
WANTED = np.array([[0.6, 2.0, 1.0, 1.0], [2.0, 1.0, 1.0, 0.5]])


class Shop:
    """Two kinds of people, slates of two of four items, drawn one after the other by merit, without repeats.

    Args:
        earns: what the kind, the first item and the second make the two positions earn on average.
    """

    def __init__(self, earns: Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], Floats]) -> None:
        self.logging, self.target = (self.odds(merits) for merits in (MERITS, WANTED))
        self.means = np.stack([earns(np.full(12, kind), SLATES[:, 0], SLATES[:, 1]) for kind in range(2)])
        self.value = float(0.5 * (self.target[:, :, None] * self.means).sum())

    @staticmethod
    def odds(merits: Floats) -> Floats:
        """The probability of each of the 12 slates for each kind."""
        first, second = merits[:, SLATES[:, 0]], merits[:, SLATES[:, 1]]
        total = merits.sum(axis=1, keepdims=True)
        return first / total * second / (total - first)

    def draw(self, rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """The kind, the number of the slate, and the rewards of its positions."""
        random = np.random.default_rng(seed)
        who = random.integers(2, size=rows)
        slate = (random.random(rows)[:, None] > self.logging[who].cumsum(axis=1)).sum(axis=1).clip(max=11)
        return who, slate, (random.random((rows, 2)) < self.means[who, slate]).astype(np.float64)

    @staticmethod
    def marginals(odds: Floats) -> Floats:
        """(kind, position, item)."""
        return np.einsum("xs,ska->xka", odds, np.eye(4)[SLATES])

    def by_position(self, rows: int, seed: int) -> SlateLog:
        who, slate, rewards = self.draw(rows, seed)
        logged, wanted = (
            self.marginals(odds)[who[:, None], np.arange(2), SLATES[slate]] for odds in (self.logging, self.target)
        )
        return SlateLog(rewards=rewards, propensities=logged, targets=wanted)

    def from_the_top(self, rows: int, seed: int) -> SlateLog:
        who, slate, rewards = self.draw(rows, seed)
        both: list[Floats] = []
        for odds in (self.logging, self.target):
            first = self.marginals(odds)[who, 0, SLATES[slate, 0]]
            both.append(np.stack([first, odds[who, slate] / first], axis=1))
        return SlateLog(rewards=rewards, propensities=both[0], targets=both[1])


TASTES = np.random.default_rng(11).uniform(0.05, 0.6, (2, 4))
INDEPENDENT = Shop(lambda who, first, second: np.stack([TASTES[who, first], 0.5 * TASTES[who, second]], axis=1))
# What lies below is looked at less if what lies above is liked.
CASCADE = Shop(
    lambda who, first, second: np.stack(
        [TASTES[who, first], (1 - 1.5 * TASTES[who, first]) * TASTES[who, second]], axis=1
    )
)


def by_placement(shop: Shop, rows: int, seed: int) -> Estimate:
    """The pseudo-inverse estimate from the sum of the positions' rewards, with the moments of each kind of person."""
    who, slate, rewards = shop.draw(rows, seed)
    moments = np.stack([moments_of(SLATES, odds, 4) for odds in shop.logging])
    return pseudo_inverse(
        rewards.sum(axis=1), SLATES[slate], shop.marginals(shop.target)[who], moments[who], config=TRUSTING
    )


def test_intervals_of_slates_hold_the_truth_where_the_assumption_does() -> None:
    cases: list[tuple[Shop, list[Estimate]]] = [
        (INDEPENDENT, [item_position(INDEPENDENT.by_position(400, seed), TRUSTING) for seed in range(SEEDS)]),
        (INDEPENDENT, [cascade(INDEPENDENT.from_the_top(400, seed), TRUSTING) for seed in range(SEEDS)]),
        (CASCADE, [cascade(CASCADE.from_the_top(400, seed), TRUSTING) for seed in range(SEEDS)]),
        (INDEPENDENT, [by_placement(INDEPENDENT, 400, seed) for seed in range(SEEDS)]),
    ]
    for shop, found in cases:
        assert FEWEST <= held(shop.value, found) <= MOST, found[0].method
        assert centred(shop.value, found), found[0].method
    by_item, from_the_top = (np.mean([one.error for one in found]) for _, found in cases[:2])
    assert by_item < from_the_top


def test_independent_positions_are_biased_where_people_look_from_the_top() -> None:
    found = [item_position(CASCADE.by_position(4000, seed), TRUSTING) for seed in range(100)]
    assert not centred(CASCADE.value, found)
