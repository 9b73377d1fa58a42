import math

import numpy as np
import pytest
from scipy import stats

from recloop.loop.sequential import OF_REWARD, Arms, SequentialConfig, Sums, interval, judge

CONFIG = SequentialConfig(min_users=3, tuned_for=50)


def arms(canary: list[float], champion: list[float]) -> Arms:
    return Arms(canary=Sums.of(canary), champion=Sums.of(champion))


def alternating(mean: float, count: int) -> list[float]:
    return [mean + (0.5 if number % 2 else -0.5) for number in range(count)]


def test_sums_give_mean_and_variance():
    sums = Sums.of([1.0, 2.0, 6.0])
    assert (float(sums.mean), float(sums.variance)) == (3.0, 7.0)
    assert (float(Sums.of([]).mean), float(Sums.of([]).variance)) == (0.0, 0.0)
    both = sums + Sums.of([3.0])
    assert (float(both.count), float(both.mean)) == (4.0, 3.0)


def test_the_interval_by_hand():
    low, high = interval(arms([1, 3, 5], [0, 2, 4, 6]), 0.1, CONFIG)
    pooled = np.var([1, 3, 5, 0, 2, 4, 6], ddof=1)
    square = max(4.0, pooled) / 3 + (20 / 3) / 4
    best = 1.0
    for _ in range(200):  # x = ln((1 + x) / alpha²), the fixed point that Lambert's function solves
        best = math.log((1 + best) / 0.01)
    x = 7 * best / 50
    width = math.sqrt(square * (1 + 1 / x) * math.log((1 + x) / 0.01))
    assert (float(low), float(high)) == pytest.approx((-width, width))


def test_the_interval_is_narrowest_where_it_was_tuned():
    sums = Sums(count=np.float64(2_500), total=np.float64(0), squares=np.float64(2_499))  # pyright: ignore[reportArgumentType]
    widths = [
        float(interval(Arms(canary=sums, champion=sums), 0.05, SequentialConfig(tuned_for=users))[1])
        for users in (3_000, 5_000, 8_000)
    ]
    assert widths[1] == min(widths)


def test_too_few_users_bound_nothing():
    low, high = interval(arms([1, 2], [1] * 9), 0.05, CONFIG)
    assert (float(low), float(high)) == (-math.inf, math.inf)


def test_verdicts_and_their_reasons():
    better = arms(alternating(1.0, 300), alternating(0.0, 300))
    worse = arms(alternating(0.0, 300), alternating(1.0, 300))
    found = judge(better, CONFIG, days=1)
    assert found.verdict == "promote"
    assert found.reason.startswith("The canary's reward is higher: +1 a user, at least +0.")
    assert found.users == {"canary": 300, "champion": 300}
    assert found.interval["low"] == pytest.approx(float(interval(better, CONFIG.alpha / 2, CONFIG)[0]))
    assert judge(worse, CONFIG, days=1).reason.startswith("The canary's reward is lower: -1 a user")
    demanding = CONFIG.model_copy(update={"gain": 1.0})
    assert judge(better, demanding, days=1).verdict == "go on"


def test_going_on_and_giving_up():
    close = arms(alternating(0.01, 30), alternating(0.0, 40))
    found = judge(close, CONFIG, days=13.9)
    assert (found.verdict, found.reason[:46]) == ("go on", "The difference of +0.01 a user may be chance: ")
    late = judge(close, CONFIG, days=14)
    assert late.verdict == "undecided"
    assert late.reason == "14 days have passed and the canary is neither better nor worse for sure."
    few = judge(arms([1, 2], [1] * 9), CONFIG, days=1)
    assert (few.verdict, few.reason) == ("go on", "The canary has 2 users of the 3 that are needed.")
    assert few.interval == {"estimate": 0.5, "low": None, "high": None}


@pytest.mark.parametrize(("share", "rate"), [(0.5, 0.1), (0.05, 0.05)])
def test_equal_arms_looked_at_after_every_user_are_seldom_told_apart(share: float, rate: float):
    runs, users, random = 400, 6_000, np.random.default_rng(7)
    config = SequentialConfig()
    decided = np.zeros(runs, dtype=bool)
    for run in range(runs):
        canary = random.random(users) < share
        low, high = interval(_running(random.random(users) < rate, canary), config.alpha * OF_REWARD, config)
        decided[run] = ((low > 0) | (high < 0)).any()
    assert stats.binomtest(int(decided.sum()), runs, config.alpha * OF_REWARD, alternative="greater").pvalue > 0.01


def _running(values: np.ndarray, canary: np.ndarray) -> Arms:
    def sums(chosen: np.ndarray) -> Sums:
        total = np.cumsum(values * chosen, dtype=np.float64)
        return Sums(count=np.cumsum(chosen, dtype=np.float64), total=total, squares=total)

    return Arms(canary=sums(canary), champion=sums(~canary))
