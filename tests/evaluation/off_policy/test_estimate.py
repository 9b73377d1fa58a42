import numpy as np
import pytest
from scipy.special import stdtrit

from recloop.evaluation.off_policy import OffPolicyConfig, OverlapError
from recloop.evaluation.off_policy.estimate import diagnose, interval

EASY = OffPolicyConfig(least_effective=1, weight_level=None)


def test_an_interval_by_hand() -> None:
    influences = np.array([1.0, 3.0, 0.0, 4.0])
    users = np.array([0, 0, 1, 2])
    # mean 2; sums of deviations: -1 + 1, -2, 2; variance 3/2 * 8 / 16
    reach = float(stdtrit(16 / 6 - 1, 0.975)) * 0.75**0.5
    assert interval(influences, users, np.ones(4), 0.95) == pytest.approx((2 - reach, 2 + reach))


@pytest.mark.parametrize(("users", "weights"), [([0, 0, 0], [1.0, 1, 1]), ([0, 1, 2], [0.0, 1, 0])])
def test_one_user_in_effect_says_nothing(users: list[int], weights: list[float]) -> None:
    assert interval(np.array([1.0, 2, 3]), np.array(users), np.array(weights), 0.9) == (-np.inf, np.inf)


def test_what_weights_look_like() -> None:
    found = diagnose(np.array([0.0, 1.0, 3.0]), np.arange(3), 0.005, EASY)
    assert (found.rows, found.largest, found.unsupported, found.clipped) == (3, 3.0, 0.005, 0.0)
    assert found.effective == pytest.approx(1.6)
    assert found.mean == pytest.approx(4 / 3)


def test_weights_of_zero_have_no_effective_rows() -> None:
    with pytest.raises(OverlapError, match="count like 0, below 1"):
        diagnose(np.zeros(3), np.arange(3), 0.0, EASY)


def test_too_few_effective_rows_are_refused() -> None:
    with pytest.raises(OverlapError) as error:
        diagnose(np.array([1000.0, 1.0, 1.0]), np.arange(3), 0.0, OffPolicyConfig(weight_level=None))
    assert str(error.value) == (
        "The policy cannot be judged: 3 rows of the log count like 1, below 100; collect more, or judge a policy "
        "nearer to the log's."
    )


def test_choices_that_the_log_never_makes_are_refused() -> None:
    with pytest.raises(OverlapError) as error:
        diagnose(np.ones(200), np.arange(200), 0.25, OffPolicyConfig())
    assert str(error.value) == (
        "The policy cannot be judged: 25.0% of its choices are ones that the log never makes, above 1.0%; log with "
        "more exploration, or judge a policy nearer to the log's."
    )


def test_weights_that_are_not_1_on_average_are_refused() -> None:
    weights = np.tile([1.9, 2.1], 100)
    with pytest.raises(OverlapError) as error:
        diagnose(weights, np.arange(200), 0.0, OffPolicyConfig())
    assert str(error.value).startswith("The policy cannot be judged: its weights are 2.000 on average, and the 99.9% ")
    assert str(error.value).endswith("does not hold 1; correct the propensities or the policy's probabilities.")
    assert diagnose(weights, np.arange(200), 0.0, OffPolicyConfig(weight_level=None)).mean == pytest.approx(2)
