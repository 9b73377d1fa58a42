import numpy as np
import pytest
from scipy.special import stdtrit

from recloop.evaluation.off_policy.interval import Mean, ratio_of_means


def of(values: list[float], units: list[int] | None = None, *, level: float) -> Mean:
    count = len(values)
    return ratio_of_means(np.array(values), np.ones(count), np.array(units or range(count)), level=level)


def test_without_skewness_it_is_students_interval() -> None:
    # With one degree of freedom the 75% quantile is tan(pi / 4) = 1; s = sqrt(2), so the standard error is 1.
    assert of([0.0, 2.0], level=0.5) == pytest.approx((1, 0, 2, 1))


def test_with_skewness_the_bounds_solve_halls_equation() -> None:
    # Deviations -1, -1, -1, 3: s^2 = 12 / 3, standard error 1, c = (24 / 4) / (12 / 4)^1.5, u = c / 2.
    mean = of([0.0, 0.0, 0.0, 4.0], level=0.9)
    assert (mean.value, mean.error) == pytest.approx((1, 1))
    u = 6 / 3**1.5 / 2
    for bound, quantile in ((mean.low, 0.95), (mean.high, 0.05)):
        t = (mean.value - bound) / mean.error
        assert t + u * (t * t / 3 + 1 / 6) + u**2 * t**3 / 27 == pytest.approx(stdtrit(3, quantile))
    assert mean.high - mean.value > 2 * (mean.value - mean.low)


def test_the_series_for_little_skewness_meets_the_cubic() -> None:
    # u is 1.06e-6 for the one, and 0.90e-6 for the other.
    cubic, series = (of([-1.0, 1.0, *([0.0] * 10), shift], level=0.95) for shift in (2.05e-2, 1.94e-2))
    assert series.low == pytest.approx(cubic.low, abs=2e-4)
    assert series.high == pytest.approx(cubic.high, abs=2e-4)


def test_units_not_rows_are_independent() -> None:
    # A = (3, 1), B = (2, 1), V = 4/3, psi - V = (3 - 8/3) / 1.5 and (1 - 4/3) / 1.5.
    mean = of([1.0, 2.0, 1.0], [0, 0, 1], level=0.5)
    assert mean == pytest.approx((4 / 3, 4 / 3 - 2 / 9, 4 / 3 + 2 / 9, 2 / 9))


def test_a_ratio_has_the_spread_of_its_residuals() -> None:
    # V = 6 / 4, residuals 1 - 1.5, 5 - 4.5, each over a mean denominator of 2.
    mean = ratio_of_means(np.array([1.0, 5.0]), np.array([1.0, 3.0]), np.arange(2), level=0.5)
    assert mean == pytest.approx((1.5, 1.25, 1.75, 0.25))


def test_one_unit_says_nothing_of_the_spread() -> None:
    assert of([1.0, 3.0], [0, 0], level=0.95) == (2, -np.inf, np.inf, np.inf)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_equal_units_have_no_width(value: float) -> None:
    mean = of([value] * 7, level=0.95)
    assert mean == (mean.value, mean.value, mean.value, 0)
    assert mean.value == pytest.approx(value)
