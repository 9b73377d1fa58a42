import math

import numpy as np
import pytest
from scipy import integrate, stats

from recloop.loop.preference import evidence, judge
from recloop.loop.sequential import OF_REWARD, SequentialConfig

CONFIG = SequentialConfig()


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (7, 2), (30, 30)])
def test_the_evidence_is_the_mixture_of_likelihood_ratios(wins: int, losses: int):
    def ratio(q: float) -> float:
        return (2 * q) ** wins * (2 * (1 - q)) ** losses * float(stats.beta.pdf(q, 10, 10))

    assert float(evidence(wins, losses)) == pytest.approx(math.log(integrate.quad(ratio, 0, 1)[0]), abs=1e-6)


def test_its_expectation_over_the_next_coin_is_what_it_was():
    for wins, losses in ((0, 0), (5, 1), (12, 40)):
        after = np.exp(evidence([wins + 1, wins], [losses, losses + 1])).mean()
        assert after == pytest.approx(float(np.exp(evidence(wins, losses))))


def test_verdicts_and_their_reasons():
    found = judge([1, 3] * 40 + [-2] * 10 + [0] * 5, CONFIG, days=1)
    assert (found.verdict, found.users) == ("promote", {"canary": 80, "champion": 10, "tied": 5})
    assert found.reason.startswith("80 users prefer the canary, 10 the champion (p = ")
    assert found.reason.endswith("), 5 neither.")
    assert judge([-1] * 80 + [2] * 10, CONFIG, days=1).verdict == "roll back"
    close = judge([1, -1, 0], CONFIG, days=13.9)
    assert (close.verdict, close.reason) == (
        "go on",
        "That may be chance: 1 users prefer the canary, 1 the champion (p = 1), 1 neither.",
    )
    late = judge([1, -1, 0], CONFIG, days=14)
    assert late.verdict == "undecided"
    assert late.reason.startswith("14 days have passed, and neither is preferred for sure: 1 users prefer the canary")
    assert judge([], CONFIG, days=0).verdict == "go on"


def test_equal_bundles_looked_at_after_every_user_are_seldom_told_apart():
    runs, users, random = 2_000, 3_000, np.random.default_rng(11)
    alpha = 0.2
    margins = random.choice([-1, 0, 1], size=(runs, users), p=[0.2, 0.6, 0.2])
    running = evidence((margins > 0).cumsum(axis=1), (margins < 0).cumsum(axis=1))
    decided = int((running >= math.log(1 / alpha)).any(axis=1).sum())
    assert stats.binomtest(decided, runs, alpha, alternative="greater").pvalue > 0.01
    assert decided > 0.02 * runs, "nor is it useless"
    fixed = stats.binom.sf((margins > 0).sum(axis=1), (margins != 0).sum(axis=1), 0.5)
    assert (fixed < alpha).any()
    assert OF_REWARD == 0.5
