import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.errors import DataError
from recloop.evaluation.off_policy import (
    Estimate,
    Log,
    OffPolicyConfig,
    Predicted,
    RefusedError,
    clipped_ips,
    doubly_robust,
    ips,
    snips,
)

LOOSE = OffPolicyConfig(min_effective=2, max_unseen=0.9, clip=1.5)
# Weights 0.5, 2 and 1.
LOG = Log(
    rewards=np.array([1.0, 3.0, 2.0]), propensities=np.array([0.5, 0.25, 0.8]), targets=np.array([0.25, 0.5, 0.8])
)
MODEL = Predicted(shown=np.array([0.5, 1.0, 1.0]), expected=np.array([1.0, 2.0, 1.5]))
ROWS = st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 4), st.integers(1, 4)), min_size=5, max_size=30).filter(
    lambda rows: len({reward for reward, _, _ in rows}) > 1
)


def many(weights: list[float], *, times: int = 200, rewards: list[float] | None = None, **more: float) -> Log:
    """Rows of these weights, over and over, with propensities of 0.1."""
    targets = np.tile(np.array(weights) * 0.1, times)
    earned = np.tile(np.array(rewards if rewards is not None else [1.0, *([0.0] * (len(weights) - 1))]), times)
    return Log(
        rewards=earned,
        propensities=np.full(len(targets), 0.1),
        targets=targets,
        **{name: np.full(len(targets), value) for name, value in more.items()},
    )


def test_ips_by_hand() -> None:
    found = ips(LOG, LOOSE)
    assert (found.method, found.level) == ("ips", 0.95)
    assert found.value == pytest.approx((0.5 + 6 + 2) / 3)
    # Contributions 0.5, 6, 2 around 8.5 / 3.
    assert found.error == pytest.approx(np.std([0.5, 6, 2], ddof=1) / np.sqrt(3))
    assert found.low < found.value < found.high
    overlap = found.overlap
    assert (overlap.rows, overlap.units, overlap.largest_weight) == (3, 3, 2)
    assert overlap.effective == pytest.approx(3.5**2 / (0.25 + 4 + 1))
    assert overlap.mean_weight.value == pytest.approx(3.5 / 3)
    assert (overlap.missing, overlap.clipped) == (None, 0)


def test_clipped_ips_by_hand() -> None:
    found = clipped_ips(LOG, LOOSE)
    assert found.value == pytest.approx((0.5 + 4.5 + 2) / 3)
    assert found.overlap.clipped == pytest.approx(0.5 / 3.5)
    assert found.overlap.effective == pytest.approx(3**2 / (0.25 + 2.25 + 1))
    assert found.overlap.largest_weight == 2
    assert found.overlap.mean_weight.value == pytest.approx(3.5 / 3)


def test_snips_by_hand() -> None:
    found = snips(LOG, LOOSE)
    assert found.value == pytest.approx(8.5 / 3.5)
    residuals = np.array([0.5, 2, 1]) * (np.array([1, 3, 2]) - 8.5 / 3.5) / (3.5 / 3)
    assert found.error == pytest.approx(np.sqrt((residuals**2).sum() / 2 / 3))


def test_doubly_robust_by_hand() -> None:
    found = doubly_robust(LOG, MODEL, LOOSE)
    assert found.value == pytest.approx((1 + 0.5 * 0.5 + 2 + 2 * 2 + 1.5 + 1 * 1) / 3)
    assert found.method == "doubly_robust"


def test_clusters_are_the_units() -> None:
    weighted = Log(
        rewards=LOG.rewards, propensities=LOG.propensities, targets=LOG.targets, clusters=np.array(["u", "v", "u"])
    )
    with pytest.raises(RefusedError) as refused:
        ips(weighted, LOOSE)
    assert refused.value.overlap.units == 2
    # Weights of the people: 0.5 + 1 and 2.
    assert refused.value.overlap.effective == pytest.approx(3.5**2 / (1.5**2 + 2**2))


@given(ROWS, st.integers(-5, 5))
def test_snips_moves_with_the_rewards_and_stays_among_them(rows: list[tuple[int, int, int]], shift: int) -> None:
    rewards, propensities, targets = np.array(rows, dtype=np.float64).T * np.array([[1], [0.25], [0.25]])
    loose = OffPolicyConfig(min_effective=2, trust_level=1 - 1e-12)
    try:
        one = snips(Log(rewards=rewards, propensities=propensities, targets=targets), loose)
        other = snips(Log(rewards=rewards + shift, propensities=propensities, targets=targets), loose)
    except RefusedError:
        return
    assert other.value - shift == pytest.approx(one.value, abs=1e-9)
    assert other.low - shift == pytest.approx(one.low, abs=1e-6)
    assert rewards.min() - 1e-9 <= one.value <= rewards.max() + 1e-9


@given(ROWS)
def test_of_the_logging_policy_itself_all_give_the_mean(rows: list[tuple[int, int, int]]) -> None:
    rewards, propensities, _ = np.array(rows, dtype=np.float64).T * np.array([[1], [0.25], [1]])
    log = Log(rewards=rewards, propensities=propensities, targets=propensities)
    constant = Predicted(shown=np.full(len(rows), 0.7), expected=np.full(len(rows), 0.7))
    loose = OffPolicyConfig(min_effective=2)
    for found in (ips(log, loose), clipped_ips(log, loose), snips(log, loose), doubly_robust(log, constant, loose)):
        assert found.value == pytest.approx(rewards.mean(), abs=1e-9)
        assert found.error == pytest.approx(rewards.std(ddof=1) / np.sqrt(len(rows)))
        assert found.overlap.effective == pytest.approx(len(rows))


def test_refused_where_few_rows_hold_the_weight() -> None:
    sentence = (
        r"The ips estimate has an effective sample size of 2\.3 \(3 units, largest weight 2\), below min_effective = "
        r"100; log more requests, explore more, or judge a policy nearer to the one that logged\."
    )
    with pytest.raises(RefusedError, match=sentence) as refused:
        ips(LOG)
    assert refused.value.floor == "min_effective"
    assert refused.value.overlap.effective == pytest.approx(7 / 3)


def test_refused_where_the_target_does_nothing_of_what_was_logged() -> None:
    with pytest.raises(RefusedError, match=r"effective sample size of 0\.0") as refused:
        snips(many([0.0, 0.0]))
    assert refused.value.overlap.mean_weight.value == 0


def test_refused_where_the_log_cannot_show_what_the_target_shows() -> None:
    sentence = (
        r"The snips estimate leaves out 0\.0800 of the target's probability \(0\.0800 that the log cannot show, "
        r"0\.0000 clipped\), above max_unseen = 0\.05; let the logging policy explore those actions, or clip higher\."
    )
    with pytest.raises(RefusedError, match=sentence) as refused:
        snips(many([0.84, 1.0], missing=0.08))
    assert refused.value.floor == "max_unseen"


def test_what_is_missing_may_stay_below_the_floor() -> None:
    found = ips(many([0.84, 1.0], missing=0.08), OffPolicyConfig(max_unseen=0.1))
    assert found.value == pytest.approx(0.42)
    assert found.overlap.missing == pytest.approx(0.08)
    assert found.overlap.mean_weight.value == pytest.approx(1)


def test_refused_where_clipping_takes_too_much() -> None:
    with pytest.raises(
        RefusedError, match=r"leaves out 0\.1500 .* \(0\.0000 that .* show, 0\.1500 clipped\)"
    ) as refused:
        clipped_ips(many([1.5, 0.5, 0.75, 1.25, 1.0], rewards=[1.0, 0, 0, 0, 0]), OffPolicyConfig(clip=1))
    assert refused.value.floor == "max_unseen"


def test_what_is_clipped_is_a_share_of_what_the_log_can_show_and_cannot() -> None:
    found = clipped_ips(many([1.6, 0.2], missing=0.1), OffPolicyConfig(clip=1.2, max_unseen=0.4))
    assert found.overlap.clipped == pytest.approx(0.4 / 2)
    assert found.overlap.missing == pytest.approx(0.1)


@pytest.mark.parametrize("weights", [[0.6, 0.8], [1.1, 1.3], [0.5, 0.5]])
def test_refused_where_the_weights_cannot_be_right(weights: list[float]) -> None:
    sentence = (
        r"The weights of the ips estimate have mean .* and at trust_level = 0\.999 it must be 1; check that propens"
    )
    with pytest.raises(RefusedError, match=sentence) as refused:
        ips(many(weights))
    assert refused.value.floor == "trust_level"


def test_refused_where_nothing_was_earned() -> None:
    sentence = (
        r"Every row of the ips estimate gives the same, 0, and an interval needs rows that differ; log until there"
    )
    with pytest.raises(RefusedError, match=sentence) as refused:
        ips(many([0.5, 1.5], rewards=[0.0, 0.0]))
    assert refused.value.floor == "level"


def test_predictions_are_checked() -> None:
    with pytest.raises(DataError, match=r"predicted\.shown has the shape \(2,\) and must have \(3,\)"):
        doubly_robust(LOG, Predicted(shown=np.zeros(2), expected=np.zeros(3)), LOOSE)
    with pytest.raises(DataError, match=r"predicted\.expected\[1\] is inf, but a reward model predicts finite numbers"):
        doubly_robust(LOG, Predicted(shown=np.zeros(3), expected=np.array([0, np.inf, 0])), LOOSE)


def test_a_wider_level_has_a_wider_interval() -> None:
    log = many([0.5, 1.5], rewards=[1.0, 0.0])
    narrow, wide = (ips(log, OffPolicyConfig(level=level)) for level in (0.8, 0.99))
    assert isinstance(narrow, Estimate)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
