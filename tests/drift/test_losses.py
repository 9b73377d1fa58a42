"""How much was lost, and what would seem lost by chance."""

from math import sqrt

import numpy as np
import polars as pl
import pytest
from scipy import stats

from recloop.drift.losses import lost


def scores(values: dict[str, float], questions: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": list(values), "score": list(values.values()), "questions": [questions] * len(values)},
        schema={"user_id": pl.String, "score": pl.Float64, "questions": pl.Int64},
    )


def test_the_loss_and_its_threshold_by_hand() -> None:
    before, lately = {"a": 0.9, "b": 0.5, "c": 0.1}, {"b": 0.0, "d": 0.4, "e": 0.8, "f": 0.0}
    found = lost(scores(before, 2), scores(lately, 3), column="x", tolerance=0.2, least=2)
    assert found is not None
    assert (found.column, found.statistic, found.n_reference, found.n_current) == ("x", "loss", 6, 12)
    assert found.value == pytest.approx(1 - 0.3 / 0.5)
    influence = dict.fromkeys("abcdef", 0.0)
    for user, score in before.items():
        influence[user] -= 0.8 * (score - 0.5) / 3
    for user, score in lately.items():
        influence[user] += (score - 0.3) / 4
    variance = 6 / 5 * sum(value**2 for value in influence.values())
    assert 0.8**2 * np.var([0.9, 0.5, 0.1], ddof=1) < np.var([0, 0.4, 0.8, 0], ddof=1)
    assert found.threshold(0.3) == pytest.approx(0.2 + stats.t.ppf(0.7, 2) * sqrt(variance) / 0.5)


def test_numbers_that_are_all_alike_by_chance_are_not_sure() -> None:
    rng = np.random.default_rng(0)
    before = {f"u{user}": float(rng.random() < 0.05) for user in range(400)}
    nothing = {f"v{user}": 0.0 for user in range(40)}
    found = lost(scores(before), scores(nothing), column="x", tolerance=0.2, least=2)
    assert found is not None
    values = np.array(list(before.values()))
    variance = 440 / 439 * 0.8**2 * values.var() / 400 + 0.8**2 * values.var(ddof=1) / 40
    assert found.threshold(0.2) == pytest.approx(0.2 + stats.t.ppf(0.8, 39) * sqrt(variance) / values.mean())
    assert found.threshold(0.001) == 1 == found.value


@pytest.mark.parametrize(("hit", "lately"), [(0.05, 60), (0.3, 60), (0.05, 400), (0.3, 400)])
def test_people_of_one_kind_seldom_seem_to_lose(hit: float, lately: int) -> None:
    """Nothing is tolerated; half of the people of the smaller set are in both. 2000 draws at 1%: 20 expected."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(2000):
        earlier = {str(user): value for user, value in enumerate((rng.random(400) < hit) * rng.random(400))}
        later = {
            str(user + 400 - lately // 2): value
            for user, value in enumerate((rng.random(lately) < hit) * rng.random(lately))
        }
        found = lost(scores(earlier), scores(later), column="x", tolerance=0, least=2)
        assert found is not None
        alarms += found.value > found.threshold(0.01)
    assert alarms <= 30


def test_more_people_make_a_loss_sure() -> None:
    def alarm(people: int) -> bool:
        rng = np.random.default_rng(3)
        before = {f"u{user}": float(rng.random()) for user in range(people)}
        lately = {f"u{user}": 0.6 * float(rng.random()) for user in range(people)}
        found = lost(scores(before), scores(lately), column="x", tolerance=0.2, least=2)
        assert found is not None
        return found.value > found.threshold(0.001)

    assert not alarm(30)
    assert alarm(1000)


def test_a_gain_is_no_loss() -> None:
    few, more = scores({"a": 0.1, "b": 0.3}), scores({"a": 0.5, "b": 0.3})
    found = lost(few, more, column="x", tolerance=0, least=2)
    assert found is not None
    assert found.value == 0


@pytest.mark.parametrize(
    ("before", "lately", "least"),
    [
        ({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}, 3),
        ({"a": 0.5, "b": 0.5, "c": 0.1}, {"a": 0.5, "b": 0.5}, 3),
        ({"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 0.5}, 2),
        ({"a": 1.0}, {"a": 0.0}, 1),
        ({}, {}, 1),
    ],
    ids=["few people", "few people lately", "nothing to lose", "one person", "nobody"],
)
def test_nothing_to_compare(before: dict[str, float], lately: dict[str, float], least: int) -> None:
    assert lost(scores(before), scores(lately), column="x", tolerance=0.1, least=least) is None
