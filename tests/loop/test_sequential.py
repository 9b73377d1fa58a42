import math
from dataclasses import replace

import numpy as np
import pytest

from recloop.loop.sequential import Arm, CanaryConfig, Verdict, mixture, radius, review

CONFIG = CanaryConfig(least_users=2)


def arm(slates: list[float], acted: list[float], empty: list[float] | None = None) -> Arm:
    parts = (slates, acted, empty or [0] * len(slates))
    return Arm(**dict(zip(("slates", "acted", "empty"), (np.array(part, dtype=float) for part in parts), strict=True)))


def test_the_difference_by_hand() -> None:
    found = review(arm([2, 3, 1], [1, 1, 0]), arm([4, 1], [1, 1]), CONFIG, days=1).acted
    assert found is not None
    assert found.value == pytest.approx(2 / 5 - 2 / 6)
    champion = 3 / 2 * sum(((a - n / 3) / 6) ** 2 for n, a in [(2, 1), (3, 1), (1, 0)])
    challenger = 2 * sum(((a - 0.4 * n) / 5) ** 2 for n, a in [(4, 1), (1, 1)])
    alpha = 0.045
    rho = mixture(2 * math.log(2 / alpha) / 0.03**2, alpha)
    reach = radius(1 / (champion + challenger), alpha, rho)
    assert (found.low, found.high) == (pytest.approx(found.value - reach), pytest.approx(found.value + reach))


def test_the_interval_is_narrowest_where_it_is_meant_to_be() -> None:
    rho = mixture(400.0, 0.05)
    near = [radius(400.0, 0.05, factor * rho) for factor in (0.8, 1.0, 1.25)]
    assert near[1] == min(near)
    assert radius(1e6, 0.05, rho) < radius(1e4, 0.05, rho) < radius(400.0, 0.05, rho)
    assert radius(400.0, 0.05, rho) > 1.96 / 20, "wider than an interval for one look"


def people(rate: float, users: int, seed: int) -> Arm:
    rng = np.random.default_rng(seed)
    slates = 1 + rng.poisson(4, users)
    return Arm(slates=slates.astype(float), acted=rng.binomial(slates, rate).astype(float), empty=np.zeros(users))


@pytest.mark.parametrize(
    ("champion", "challenger", "days", "verdict", "said"),
    [
        (0.2, 0.3, 1, "promote", "The challenger is surely better: its rate of slates acted on differs by +0."),
        (0.3, 0.2, 1, "rollback", "The challenger is surely worse: its rate of slates acted on differs by -0."),
        (0.2, 0.2, 1, "wait", "Nothing is sure yet: the rates of slates acted on differ by "),
        (0.2, 0.2, 14, "rollback", "After 14.0 days nothing is sure ("),
    ],
)
def test_verdicts(champion: float, challenger: float, days: float, verdict: Verdict, said: str) -> None:
    found = review(people(champion, 1_500, 1), people(challenger, 1_500, 2), CanaryConfig(), days)
    assert (found.verdict, found.users) == (verdict, (1_500, 1_500))
    assert found.reason.startswith(said)


def test_empty_slates_end_a_canary_that_is_clicked_more() -> None:
    better = replace(people(0.4, 800, 3), empty=np.ones(800))
    found = review(people(0.2, 800, 4), better, CanaryConfig(), 1)
    assert found.verdict == "rollback"
    assert found.reason.startswith("The challenger leaves +")
    assert ", surely +" in found.reason


@pytest.mark.parametrize(
    ("days", "verdict", "reason"),
    [
        (13.9, "wait", "Nothing is said yet: 99 users of an arm are fewer than 100."),
        (14, "rollback", "After 14.0 days 99 users of an arm are fewer than 100; the champion stays."),
    ],
)
def test_few_users_say_nothing(days: float, verdict: Verdict, reason: str) -> None:
    found = review(people(0.1, 500, 0), people(0.9, 99, 1), CanaryConfig(), days)
    assert (found.verdict, found.reason, found.acted) == (verdict, reason, None)


def test_arms_without_any_act_are_not_told_apart() -> None:
    found = review(people(0.0, 200, 0), people(0.0, 200, 1), CanaryConfig(), 1)
    assert found.verdict == "wait"
    assert found.acted is not None
    assert (found.acted.low, found.acted.high) == (0, 0)
