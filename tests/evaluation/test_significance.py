import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.errors import DataError
from recloop.evaluation import significance
from recloop.evaluation.significance import bootstrap_mean, paired_bootstrap, paired_bootstraps


def test_two_users_give_the_quantiles_of_a_binomial() -> None:
    # Means of two draws from {0, 1} are 0, 0.5 and 1 with probabilities 1/4, 1/2, 1/4.
    interval = bootstrap_mean(np.array([0.0, 1.0]), seed=0, samples=4000)
    assert interval == (0.5, 0.0, 1.0)
    # With one degree of freedom t = tan(0.1 pi) = 0.325, w = 0.459, Phi(-w) = 0.32: between the steps at 1/4 and 3/4.
    inner = bootstrap_mean(np.array([0.0, 1.0]), seed=0, samples=4000, level=0.2)
    assert inner == (0.5, 0.5, 0.5)


def test_one_user_has_an_interval_without_width() -> None:
    assert bootstrap_mean(np.array([0.3]), seed=1) == (0.3, 0.3, 0.3)


def test_equal_users_have_an_interval_without_width() -> None:
    assert bootstrap_mean(np.full(7, 0.1), seed=1) == (0.1, 0.1, 0.1)


def test_no_user_is_refused() -> None:
    with pytest.raises(DataError, match=r"An interval over 0 users does not exist; give at least one user"):
        bootstrap_mean(np.array([]), seed=0)
    with pytest.raises(DataError, match="0 users"):
        paired_bootstrap(np.array([]), np.array([]), seed=0)


def test_values_that_are_not_finite_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="not finite"):
        bootstrap_mean(np.array([0.1, np.nan]), seed=0)


def test_users_that_cannot_be_paired_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="values of 3 and of 2 users"):
        paired_bootstrap(np.zeros(3), np.zeros(2), seed=0)


def test_the_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(3).beta(0.3, 2, size=2500)
    error = 1.96 * values.std() / 50
    interval = bootstrap_mean(values, seed=0, samples=20_000)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - error, abs=error * 0.05)
    assert interval.high == pytest.approx(values.mean() + error, abs=error * 0.05)


def test_binning_keeps_mean_and_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).gamma(1.0, size=3000)
    exact = bootstrap_mean(values, seed=0, samples=5000)
    monkeypatch.setattr(significance, "DIRECT", 2999)
    counted = bootstrap_mean(values, seed=0, samples=5000)
    assert counted == pytest.approx(exact, rel=0.02)
    monkeypatch.setattr(significance, "BINS", 128)
    binned = bootstrap_mean(values, seed=0, samples=5000)
    assert binned.mean == exact.mean
    assert binned.low == pytest.approx(exact.low, abs=0.05 * (exact.mean - exact.low))
    assert binned.high == pytest.approx(exact.high, abs=0.05 * (exact.high - exact.mean))


def test_chunks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(6.0)
    whole = bootstrap_mean(values, seed=5, samples=100)
    monkeypatch.setattr(significance, "CELLS", 42)  # seven samples at a time, the last chunk is shorter
    assert bootstrap_mean(values, seed=5, samples=100) == whole


def test_few_distinct_values_of_many_users_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "DIRECT", 1)
    interval = bootstrap_mean(np.array([0.0, 1.0]), seed=0, samples=4000)
    assert interval == (0.5, 0.0, 1.0)


def test_few_users_have_the_width_of_students_distribution() -> None:
    # Normal values of 6 users: mean +- 2.571 s / sqrt(6), with s the sample's deviation over U - 1.
    values = np.array([-1.2, -0.7, -0.1, 0.2, 0.8, 1.0])
    interval = bootstrap_mean(values, seed=0, samples=200_000)
    error = 2.571 * values.std(ddof=1) / 6**0.5
    assert interval.high - interval.low == pytest.approx(2 * error, rel=0.1)


def test_a_million_users_take_bounded_work() -> None:
    values = np.random.default_rng(6).random(1_000_000)
    interval = bootstrap_mean(values, seed=0, samples=200)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 1000, rel=0.2)


@pytest.mark.parametrize(("users", "least"), [(25, 0.91), (60, 0.925), (300, 0.935)])
def test_coverage_is_near_nominal(users: int, least: float) -> None:
    # Skewed values as metrics have them: most users 0, some up to 1. The true mean of this mixture is 0.4 * 0.25.
    trials, truth, inside = 600, 0.4 * 0.25, 0
    for seed in range(trials):
        random = np.random.default_rng(seed)
        values = np.where(random.random(users) < 0.4, random.beta(1, 3, users), 0.0)
        interval = bootstrap_mean(values, seed=seed, samples=400)
        inside += interval.low <= truth <= interval.high
    assert least <= inside / trials <= 0.975


def test_equal_models_do_not_differ() -> None:
    values = np.array([0.2, 0.9, 0.4])
    assert paired_bootstrap(values, values.copy(), seed=0) == (0.0, 0.0, 0.0, 1.0)


def test_a_better_model_for_each_user_differs_surely() -> None:
    better, worse = np.array([0.5, 0.7, 0.9, 1.0]), np.array([0.25, 0.45, 0.65, 0.75])
    difference = paired_bootstrap(better, worse, seed=0, samples=999)
    assert difference.mean == pytest.approx(0.25)
    assert difference.low == pytest.approx(0.25)
    assert difference.p == pytest.approx(2 / 1000)


def test_several_levels_come_from_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(9)
    a, b, draws = random.random(30), random.random(30), []
    alone = [paired_bootstrap(a, b, seed=4, samples=200, level=level) for level in (0.95, 0.99)]
    real = significance._means
    monkeypatch.setattr(significance, "_means", lambda *args, **named: draws.append(1) or real(*args, **named))
    assert paired_bootstraps(a, b, seed=4, samples=200, levels=(0.95, 0.99)) == alone
    assert len(draws) == 1
    assert alone[1].low < alone[0].low < alone[0].high < alone[1].high


def test_pairing_removes_what_users_share() -> None:
    random = np.random.default_rng(8)
    ease, gain = random.random(500), random.normal(0.02, 0.05, 500)
    paired = paired_bootstrap(ease + gain, ease, seed=0)
    shuffled = paired_bootstrap(ease + gain, random.permutation(ease), seed=0)
    assert paired.low > 0
    assert shuffled.low < 0
    assert paired.high - paired.low < (shuffled.high - shuffled.low) / 3


def test_p_values_of_equal_models_are_uniform() -> None:
    p = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        p.append(paired_bootstrap(random.random(120), random.random(120), seed=seed, samples=300).p)
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=30),
    shift=st.floats(-5, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_interval_holds_the_range_and_moves_with_the_values(values: list[float], shift: float, seed: int) -> None:
    array = np.array(values)
    interval = bootstrap_mean(array, seed=seed, samples=50)
    assert array.min() - 1e-12 <= interval.low <= interval.high <= array.max() + 1e-12
    moved = bootstrap_mean(array + shift, seed=seed, samples=50)
    # Adding a number may merge values that differ by less than its rounding; the mean does not mind.
    assert moved.mean == pytest.approx(interval.mean + shift, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_difference_is_the_bootstrap_of_the_differences(pairs: list[tuple[float, float]], seed: int) -> None:
    a, b = np.array(pairs).T
    difference = paired_bootstrap(a, b, seed=seed, samples=50)
    assert tuple(difference)[:3] == tuple(bootstrap_mean(a - b, seed=seed, samples=50))
    assert 0 < difference.p <= 1
