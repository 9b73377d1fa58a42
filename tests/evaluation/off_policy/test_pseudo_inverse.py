from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.errors import DataError
from recloop.evaluation.off_policy import (
    OffPolicyConfig,
    independent_slots,
    moments_of,
    pseudo_inverse,
    uniform_slates,
)

LOOSE = OffPolicyConfig(min_effective=2)
SLATES = np.array(list(permutations(range(4), 2)))  # 12 slates of 2 of 4 items


def marginals(probabilities: np.ndarray, items: int = 4) -> np.ndarray:
    return np.einsum("s,ska->ka", probabilities, np.eye(items)[SLATES])


def exact_log(counts: np.ndarray) -> np.ndarray:
    """Every slate as often as `counts` says: a log in which shares are the probabilities."""
    return np.repeat(SLATES, counts, axis=0)


@given(st.integers(1, 4), st.integers(0, 3))
def test_moments_of_uniform_slates_are_those_of_all_slates(positions: int, more: int) -> None:
    items = positions + more
    slates = np.array(list(permutations(range(items), positions)))
    listed = moments_of(slates, np.full(len(slates), 1 / len(slates)), items)
    assert uniform_slates(positions, items) == pytest.approx(listed)


def test_moments_of_independent_slots_are_those_of_all_slates() -> None:
    propensities = np.array([[0.5, 0.25, 0.25], [0.2, 0.8, 0.0]])
    slates = np.array([(a, b) for a in range(3) for b in range(3)])
    listed = moments_of(slates, propensities[0, slates[:, 0]] * propensities[1, slates[:, 1]], 3)
    assert independent_slots(propensities) == pytest.approx(listed)


@pytest.mark.parametrize("seed", range(3))
def test_exact_for_rewards_that_are_sums(seed: int) -> None:
    """A log in exact proportions, uneven ones, and rewards that add up over placements give the value itself."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, 9, size=12)
    earned, target = random.normal(size=(2, 4)), random.dirichlet(np.full(12, 0.5))
    log = exact_log(counts)
    moments = moments_of(SLATES, counts / counts.sum(), 4)
    found = pseudo_inverse(
        earned[0, log[:, 0]] + earned[1, log[:, 1]],
        log,
        np.broadcast_to(marginals(target), (len(log), 2, 4)),
        moments,
        config=LOOSE,
    )
    assert found.value == pytest.approx((marginals(target) * earned).sum())
    assert found.overlap.mean_weight.value == pytest.approx(1)
    assert found.overlap.missing == 0


def test_independent_slots_have_weights_in_closed_form() -> None:
    random = np.random.default_rng(0)
    propensities, targets = random.dirichlet(np.ones(5), 3), random.dirichlet(np.ones(5), 3)
    slates = random.integers(5, size=(40, 3))
    rewards = random.normal(size=40)
    loose = OffPolicyConfig(min_effective=2, trust_level=1 - 1e-12)
    found = pseudo_inverse(
        rewards, slates, np.broadcast_to(targets, (40, 3, 5)), independent_slots(propensities), config=loose
    )
    weights = (targets / propensities)[np.arange(3), slates].sum(axis=1) - 3 + 1
    assert found.value == pytest.approx((weights * rewards).mean())
    assert found.overlap.largest_weight == pytest.approx(weights.max())


def test_moments_may_differ_from_slate_to_slate() -> None:
    random = np.random.default_rng(1)
    counts = random.integers(1, 9, size=12)
    logs = [exact_log(counts), exact_log(np.ones(12, dtype=np.int64))]
    moments = [moments_of(SLATES, counts / counts.sum(), 4), uniform_slates(2, 4)]
    target = marginals(random.dirichlet(np.ones(12)))
    rewards = [random.normal(size=len(log)) for log in logs]
    targets = [np.broadcast_to(target, (len(log), 2, 4)) for log in logs]
    apart = [pseudo_inverse(*given, config=LOOSE).value for given in zip(rewards, logs, targets, moments, strict=True)]
    each = np.concatenate([np.broadcast_to(m, (len(log), 2, 4, 2, 4)) for m, log in zip(moments, logs, strict=True)])
    both = pseudo_inverse(np.concatenate(rewards), np.concatenate(logs), np.concatenate(targets), each, config=LOOSE)
    assert both.value == pytest.approx(np.average(apart, weights=[len(log) for log in logs]))


def test_people_are_the_units() -> None:
    log = exact_log(np.full(12, 30))
    targets = np.broadcast_to(marginals(np.full(12, 1 / 12)), (360, 2, 4))
    found = pseudo_inverse(np.arange(360) % 3 * 1.0, log, targets, uniform_slates(2, 4), clusters_N=np.arange(360) // 2)
    assert (found.value, found.overlap.units) == (pytest.approx(1), 180)


def test_more_positions_than_items() -> None:
    with pytest.raises(
        DataError, match=r"A slate of 3 different items cannot be drawn from 2; give 1 to 2 positions\."
    ):
        uniform_slates(3, 2)


UNIFORM = np.broadcast_to(np.full((2, 4), 0.25), (12, 2, 4))
HALF_EMPTY = UNIFORM * np.array([[1.0], [0.5]])
NEVER_LAST = moments_of(SLATES, np.where((SLATES != 3).all(axis=1), 1 / 6, 0.0), 4)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"targets_NKM": UNIFORM[0]},
            r"targets has the shape \(2, 4\), which must be \(N, K, M\); give marginals a slate",
        ),
        ({"targets_NKM": UNIFORM[:3]}, r"targets has the shape \(3, 2, 4\) and must have \(12, 2, 4\)"),
        ({"targets_NKM": UNIFORM * 5}, r"targets\[0, 0, 0\] is 1\.25, but a probability lies in \[0, 1\]; correct the"),
        (
            {"targets_NKM": UNIFORM / 2, "moments": np.eye(8).reshape(2, 4, 2, 4)[:, :3]},
            r"moments has the shape \(2, 3, 2, 4\)",
        ),
        (
            {"targets_NKM": HALF_EMPTY},
            r"targets\[0\] cannot be made up of slates of the logging policy, and the pseudo-inverse",
        ),
        ({"moments": NEVER_LAST}, r"targets\[0\] cannot be made up of slates of the logging policy"),
        ({"slates_NK": SLATES + 1}, r"slates\[2, 1\] is 4, but items are numbered from 0 to 3; correct the number\."),
        ({"slates_NK": SLATES[:5]}, r"slates has the shape \(5, 2\) and must have \(12, 2\)"),
        ({"rewards_N": np.full(12, np.nan)}, r"rewards\[0\] is nan"),
        ({"clusters_N": np.arange(3)}, r"clusters has the shape \(3,\)"),
        (
            {"moments": NEVER_LAST, "targets_NKM": np.broadcast_to([[0.5, 0.5, 0, 0], [0, 0, 1.0, 0]], (12, 2, 4))},
            r"slates\[2, 1\] is 3, but by moments the log never shows that item there; give the moments of",
        ),
    ],
)
def test_what_cannot_be_estimated(changed: dict[str, Any], sentence: str) -> None:
    given = {
        "rewards_N": np.arange(12.0),
        "slates_NK": SLATES,
        "targets_NKM": UNIFORM,
        "moments": uniform_slates(2, 4),
        "config": LOOSE,
    }
    with pytest.raises(DataError, match=sentence):
        pseudo_inverse(**(given | changed))
