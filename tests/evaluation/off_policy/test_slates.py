from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binom

from recloop.errors import DataError
from recloop.evaluation.off_policy import (
    OffPolicyConfig,
    OverlapError,
    SlateLog,
    cascade,
    item_position,
    pseudo_inverse,
    uniform_pairs,
)

EASY = OffPolicyConfig(least_effective=1, weight_level=None)
LOG = SlateLog(
    rewards=[[1, 0, 2], [0, 1, 1]],
    propensities=[[0.5, 0.5, 0.25], [0.25, 0.5, 0.5]],
    targets=[[0.5, 0.25, 0.5], [0.5, 0.5, 0.25]],
)  # ratios 1, .5, 2 and 2, 1, .5


def test_by_position_by_hand() -> None:
    found = item_position(LOG, EASY)
    assert found.value == pytest.approx((1 + 4 + 1 + 0.5) / 2)
    assert found.diagnostics.effective == pytest.approx(min(9 / 5, 2.25 / 1.25, 6.25 / 4.25))


def test_cascade_by_hand() -> None:
    found = cascade(LOG, EASY)
    assert found.value == pytest.approx((1 + 2 * 1 + 2 + 1) / 2)
    assert found.diagnostics.effective == pytest.approx(min(9 / 5, 6.25 / 4.25, 4 / 2))


def test_pairs_of_a_uniform_log_by_counting() -> None:
    slates = list(permutations(range(4), 2))
    counted = np.zeros((8, 8))
    for slate in slates:
        shown = np.zeros(8)
        shown[[slate[0], 4 + slate[1]]] = 1
        counted += np.outer(shown, shown) / len(slates)
    np.testing.assert_allclose(uniform_pairs(2, 4), counted)
    np.testing.assert_allclose(uniform_pairs(1, 1), [[1]])


def test_a_sum_over_places_is_found_exactly_from_all_slates() -> None:
    slates = np.array(list(permutations(range(4), 2)))
    worth = np.array([[0.1, 0.5, 0.2, 0.9], [0.3, 0.0, 0.7, 0.4]])
    targets = np.array([[0.0, 0.75, 0.25, 0.0], [0.25, 0.25, 0.0, 0.5]])
    rewards = worth[0, slates[:, 0]] + worth[1, slates[:, 1]]
    found = pseudo_inverse(slates, rewards, uniform_pairs(2, 4), targets, EASY)
    assert found.value == pytest.approx(float((worth * targets).sum()))


def test_what_the_log_never_shows_is_refused() -> None:
    pairs, targets = np.diag([0.5, 0.5, 0.0, 1.0, 0.0, 0.0]), np.array([[0.5, 0.4, 0.1], [1.0, 0, 0]])
    with pytest.raises(OverlapError, match=r"5.0% of its choices are ones that the log never makes"):
        pseudo_inverse(np.array([[0, 0], [1, 0]]), [1, 0], pairs, targets, EASY)


def test_shapes_must_fit() -> None:
    with pytest.raises(DataError) as error:
        pseudo_inverse(np.zeros((3, 2), dtype=np.int64), [1, 0], uniform_pairs(2, 3), np.full((2, 3), 1 / 3), EASY)
    assert str(error.value) == (
        "slates (3, 2), rewards (2,), pairs (6, 6) and targets (2, 3) do not fit together; give N slates of K places, "
        "N rewards, K I pairs squared and K x I targets."
    )
    with pytest.raises(DataError, match="must have one row a slate and one column a place"):
        SlateLog(rewards=[1, 0], propensities=[1, 1], targets=[1, 1])
    with pytest.raises(DataError, match="users has 1 rows, but rewards has 2; give one for each"):
        SlateLog(rewards=[[1], [0]], propensities=[[1], [1]], targets=[[1], [1]], users=["a"])


def plackett_luce(order: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Probability of each place given those before, (N, K)."""
    left = strength.sum() - np.cumsum(strength[order], axis=1) + strength[order]
    return strength[order] / left


def draw(strength: np.ndarray, rows: int, k: int, rng: np.random.Generator) -> np.ndarray:
    return np.argsort(-(np.log(strength) + rng.gumbel(size=(rows, len(strength)))), axis=1)[:, :k]


def clicks(slates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """People go down the list and stop after a click: a cascade."""
    liked = rng.random(slates.shape) < np.array([0.5, 0.1, 0.3, 0.2, 0.05])[slates]
    first = np.where(liked.any(axis=1), liked.argmax(axis=1), slates.shape[1])
    return (np.arange(slates.shape[1]) == first[:, None]).astype(float)


def test_the_cascade_covers_the_truth_where_people_stop_after_a_click() -> None:
    logging, target = np.array([1.0, 1, 1, 2, 2]), np.array([4.0, 1, 2, 1, 1])
    config, rng = OffPolicyConfig(weight_level=None), np.random.default_rng(0)
    truth = clicks(draw(target, 400_000, 3, rng), rng).sum(axis=1).mean()
    runs, covered = 300, 0
    for _ in range(runs):
        slates = draw(logging, 1_500, 3, rng)
        log = SlateLog(
            rewards=clicks(slates, rng),
            propensities=plackett_luce(slates, logging),
            targets=plackett_luce(slates, target),
        )
        low, high = cascade(log, config).interval
        covered += low <= truth <= high
    assert binom.cdf(covered, runs, 0.95) > 0.001
    assert binom.sf(covered - 1, runs, 0.95) > 0.001


def test_the_pseudo_inverse_and_marginals_cover_the_truth_where_places_add_up() -> None:
    config, rng = OffPolicyConfig(weight_level=None), np.random.default_rng(1)
    worth = np.array([[0.3, 0.1, 0.2, 0.05], [0.2, 0.1, 0.05, 0.1]])
    target = np.array([3.0, 1, 2, 1])
    shown = draw(target, 400_000, 2, rng)
    marginals = np.stack([np.bincount(shown[:, place], minlength=4) / len(shown) for place in range(2)])
    truth, runs, covered = float((worth * marginals).sum()), 300, {"pseudo_inverse": 0, "item_position": 0}
    for _ in range(runs):
        slates = draw(np.ones(4), 1_000, 2, rng)
        rewards = (rng.random(slates.shape) < worth[[0, 1], slates]).astype(float)
        log = SlateLog(rewards=rewards, propensities=np.full(slates.shape, 0.25), targets=marginals[[0, 1], slates])
        for found in (
            item_position(log, config),
            pseudo_inverse(slates, rewards.sum(axis=1), uniform_pairs(2, 4), marginals, config),
        ):
            covered[found.estimator] += found.interval[0] <= truth <= found.interval[1]
    for count in covered.values():
        assert binom.cdf(count, runs, 0.95) > 0.001
        assert binom.sf(count - 1, runs, 0.95) > 0.001
