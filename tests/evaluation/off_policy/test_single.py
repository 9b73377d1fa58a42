from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from recloop.errors import DataError
from recloop.evaluation.off_policy import (
    Estimate,
    Log,
    OffPolicyConfig,
    OverlapError,
    clipped_ips,
    cross_fitted_means,
    doubly_robust,
    ips,
    snips,
)

ABOVE = "but must be above 0 and at most 1; correct or drop its row."
LEAST = "but must be at least 0 and at most 1; correct or drop its row."
EASY = OffPolicyConfig(least_effective=1, weight_level=None, clip=2.0)
LOG = Log(rewards=[1, 0, 3], propensities=[0.5, 0.25, 0.1], targets=[0.5, 0.5, 0.4])  # weights 1, 2, 4


def test_inverse_propensities_by_hand() -> None:
    found = ips(LOG, EASY)
    assert (found.estimator, found.level) == ("ips", 0.95)
    assert found.value == pytest.approx(13 / 3)
    assert found.interval[0] < 13 / 3 < found.interval[1]
    assert found.diagnostics.effective == pytest.approx(49 / 21)


def test_clipped_by_hand() -> None:
    found = clipped_ips(LOG, EASY)
    assert found.value == pytest.approx(7 / 3)
    assert found.diagnostics.clipped == pytest.approx(2 / 7)


def test_self_normalised_by_hand() -> None:
    found = snips(LOG, EASY)
    assert found.value == pytest.approx(13 / 7)
    middle = sum(found.interval) / 2
    assert middle == pytest.approx(13 / 7)


def test_doubly_robust_by_hand() -> None:
    found = doubly_robust(LOG, [1, 1, 2], [0.5, 1.5, 1], EASY)
    assert found.value == pytest.approx((0.5 + 0 + 1.5 - 2 + 1 + 4) / 3)


def test_a_constant_reward_is_told_without_error_by_the_self_normalised() -> None:
    rng = np.random.default_rng(0)
    propensities = rng.uniform(0.1, 1, 50)
    found = snips(Log(rewards=np.full(50, 0.3), propensities=propensities, targets=rng.uniform(0, 1, 50)), EASY)
    assert found.value == pytest.approx(0.3)
    assert found.interval == pytest.approx((0.3, 0.3))


def test_rows_of_one_user_do_not_count_as_several() -> None:
    rewards = np.random.default_rng(1).normal(size=40)
    repeated, half, names = np.repeat(rewards, 3), np.full(120, 0.5), [f"u{n}" for n in np.repeat(range(40), 3)]
    apart = ips(Log(rewards=repeated, propensities=half, targets=half), EASY)
    together = ips(Log(rewards=repeated, propensities=half, targets=half, users=names), EASY)
    assert together.value == apart.value
    width = [found.interval[1] - found.interval[0] for found in (apart, together)]
    assert width[1] / width[0] == pytest.approx(3**0.5, rel=0.05)


def test_a_policy_that_is_the_log_gets_the_mean() -> None:
    log = Log(rewards=[1.0, 0, 0, 1], propensities=[0.2, 0.3, 0.9, 1], targets=[0.2, 0.3, 0.9, 1])
    for found in (ips(log, EASY), snips(log, EASY), clipped_ips(log, EASY)):
        assert found.value == 0.5
        assert found.diagnostics.effective == 4


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"propensities": [0.5, 0.0, 1]}, f"propensities holds 0, {ABOVE}"),
        ({"propensities": [0.5, np.nan, 1]}, f"propensities holds nan, {ABOVE}"),
        ({"targets": [0.5, 1.5, 1]}, f"targets holds 1.5, {LEAST}"),
        ({"targets": [0.5, 1]}, "targets has the shape (2,), but rewards (3,); give one for each."),
        ({"rewards": [0.5, np.inf, 1]}, "rewards holds a number that is not finite; correct or drop its row."),
        ({"users": ["a"]}, "users has 1 rows, but rewards has 3; give one for each."),
        ({"rewards": [], "propensities": [], "targets": []}, "The log is empty; give at least one row."),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_read_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as error:
        Log(**(dict[str, Any](rewards=[1, 0, 3], propensities=[0.5, 0.2, 1], targets=[0.5, 0.5, 1]) | changed))
    assert str(error.value) == sentence


def test_predictions_must_fit() -> None:
    with pytest.raises(DataError) as error:
        doubly_robust(LOG, [1, 1, 1], [1, np.nan, 1], EASY)
    assert str(error.value) == "expected must hold one finite number for each of 3 rows; correct it."


def test_no_row_tells_of_itself() -> None:
    actions, rewards = np.array([0, 0, 1, 1, 2]), np.array([1.0, 0, 1, 1, 0])
    targets = np.array([0.5, 0.25, 0.25])
    predicted, expected = cross_fitted_means(actions, rewards, targets, prior=1, folds=5)
    overall = (rewards.sum() - rewards) / 4
    assert predicted[0] == pytest.approx((0 + overall[0]) / 2)
    assert predicted[2] == pytest.approx((1 + overall[2]) / 2)
    assert predicted[4] == pytest.approx(overall[4])
    means = np.array([(1 + overall[4]) / 3, (2 + overall[4]) / 3, overall[4]])
    assert expected[4] == pytest.approx(targets @ means)
    each = np.tile(targets, (5, 1))
    np.testing.assert_allclose(cross_fitted_means(actions, rewards, each, prior=1, folds=5)[1], expected)


def worlds(runs: int, rows: int) -> tuple[list[dict[str, Estimate]], float]:
    """Estimates of one policy from many logs of another, and its true value; two contexts, four actions."""
    likely = np.array([[0.1, 0.3, 0.05, 0.2], [0.4, 0.1, 0.15, 0.02]])
    logging = np.array([[0.4, 0.2, 0.2, 0.2], [0.1, 0.3, 0.3, 0.3]])
    target = np.array([[0.1, 0.6, 0.1, 0.2], [0.5, 0.2, 0.2, 0.1]])
    share = np.array([0.7, 0.3])
    truth = float(share @ (target * likely).sum(axis=1))
    config = OffPolicyConfig(weight_level=None)
    found = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        context = (rng.random(rows) > share[0]).astype(int)
        action = (rng.random(rows)[:, None] > np.cumsum(logging[context], axis=1)).sum(axis=1)
        rewards = (rng.random(rows) < likely[context, action]).astype(float)
        log = Log(rewards=rewards, propensities=logging[context, action], targets=target[context, action])
        model = cross_fitted_means(action, rewards, target[context], seed=seed)
        estimates = ips(log, config), snips(log, config), doubly_robust(log, *model, config)
        found.append({one.estimator: one for one in estimates})
    return found, truth


def test_intervals_cover_the_truth_at_their_level_and_a_model_helps() -> None:
    runs = 400
    found, truth = worlds(runs, rows=1_500)
    errors = {}
    for name in ("ips", "snips", "doubly_robust"):
        covered = sum(low <= truth <= high for low, high in (one[name].interval for one in found))
        assert binom.cdf(covered, runs, 0.95) > 0.001
        assert binom.sf(covered - 1, runs, 0.95) > 0.001
        values = np.array([one[name].value for one in found])
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / runs**0.5)
        errors[name] = values.std()
    assert errors["doubly_robust"] < errors["ips"]


def test_a_policy_far_from_the_log_is_refused() -> None:
    rng = np.random.default_rng(2)
    chosen = rng.random(500) < 0.995
    log = Log(
        rewards=rng.random(500), propensities=np.where(chosen, 0.995, 0.005), targets=np.where(chosen, 0.01, 0.99)
    )
    for estimator in (ips, snips, clipped_ips):
        with pytest.raises(OverlapError):
            estimator(log, OffPolicyConfig())
