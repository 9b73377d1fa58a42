"""LinUCB against the joint regression that it is a shortcut for, and in a made-up world against other policies."""

from collections.abc import Callable

import numpy as np
import pytest

from recloop.policies import Candidates, Clicks, ScoredClicks, epsilon_slots, find, lin_ucb, thompson, top_n
from tests.support.slates import assert_frequencies_match, candidates, draws

POLICY = find("lin_ucb")
SCORES = np.array([1.8, 0.9, 0.4, -1.0], dtype=np.float32)
CATEGORIES = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]])
ITEM = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
SCORE = np.array([1.5, 0.2, 2.0, 1.0, -0.4, 0.3, 0.3, 1.1, -2.0])
LOOK = np.array([1.0, 0.5, 1.0, 0.25, 1.0, 0.5, 0.5, 1.0, 0.25])
CLICKED = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])


def summed(items: int, item: np.ndarray, score: np.ndarray, look: np.ndarray, clicked: np.ndarray) -> ScoredClicks:
    sums = (look, clicked, look * score, look * score**2, clicked * score)
    names = ("examined", "clicks", "scores", "squared_scores", "clicked_scores")
    return ScoredClicks(
        **{
            name: np.bincount(item, weights=weights, minlength=items).astype(np.float64)
            for name, weights in zip(names, sums, strict=True)
        }
    )


KNOWN = summed(4, ITEM, SCORE, LOOK, CLICKED)
GIVEN = candidates(
    *SCORES.tolist(),
    scored_clicks=KNOWN,
    categories=CATEGORIES,
    popularity=np.array([7.0, 0.0, 3.0, 1.0]),
    age=np.array([0.0, np.inf, 1.0, 3.0]),
)


@pytest.mark.parametrize("ridge", [1.0, 0.3])
def test_bounds_are_those_of_one_regression_on_context_and_items_row_by_row(ridge: float) -> None:
    mean = (LOOK * SCORE).sum() / LOOK.sum()
    spread = np.sqrt((LOOK * SCORE**2).sum() / LOOK.sum() - mean**2)
    popularity = np.log([8, 1, 4, 2]) / np.log(8)
    age = np.array([1, 0, 0.5, 0.25])

    def joint(item: np.ndarray, score: np.ndarray) -> np.ndarray:
        own = np.eye(4)[item]
        shared = np.column_stack([(score - mean) / spread, np.ones(len(item)), popularity[item], age[item]])
        return np.hstack([shared, CATEGORIES[item], own])

    rows, asked = joint(ITEM, SCORE), joint(np.arange(4), SCORES.astype(np.float64))
    gram = ridge * np.eye(rows.shape[1]) + rows.T @ (rows * LOOK[:, None])
    inverse = np.linalg.inv(gram)
    expected = asked @ inverse @ (rows.T @ CLICKED) + 0.7 * np.sqrt(((asked @ inverse) * asked).sum(axis=1))
    config = lin_ucb.Config(alpha=0.7, ridge=ridge, features=("score", "popularity", "age", "categories"))
    np.testing.assert_allclose(lin_ucb.bounds(GIVEN, config), expected, rtol=1e-9)
    slate = lin_ucb.slate(GIVEN, 3, config, np.random.default_rng(0))
    assert slate.items.tolist() == [100 + item for item in np.argsort(-expected)[:3]]
    assert slate.scores.tolist() == SCORES[np.argsort(-expected)[:3]].tolist()


def test_without_features_items_have_their_own_rate_and_what_was_not_looked_at_is_tried() -> None:
    known = summed(3, np.repeat([0, 1], 400), np.zeros(800), np.ones(800), np.arange(800) % 400 < 100)
    given = candidates(3.0, 2.0, 1.0, scored_clicks=known)
    plain = lin_ucb.bounds(given, lin_ucb.Config(alpha=0, features=()))
    np.testing.assert_allclose(plain[:2], 0.25, atol=0.01)
    assert plain[2] < plain[0]
    hopeful = lin_ucb.bounds(given, lin_ucb.Config(alpha=1, features=()))
    assert hopeful.argmax() == 2


def test_before_any_click_the_order_is_that_of_the_scores() -> None:
    given = candidates(9.0, 7.0, 1.0, scored_clicks=summed(3, *(np.zeros(0, int), *[np.zeros(0)] * 3)))
    for features in ((), ("score",)):
        slate = draws(POLICY, given, 2, 1, features=features, alpha=0.0)[0]
        assert slate.items.tolist() == [100, 101]
        assert slate.propensities.tolist() == [1.0, 1.0]
        assert slate.exact


def test_vectors_have_length_one_and_equal_logged_scores_are_no_context() -> None:
    known = summed(2, np.array([0, 1, 1]), np.full(3, 0.1), np.ones(3), np.array([1.0, 0.0, 0.0]))
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    longer = candidates(0.1, 0.1, scored_clicks=known, vectors=vectors * 10)
    given = candidates(0.1, 0.1, scored_clicks=known, vectors=vectors)
    config = lin_ucb.Config(features=("score", "vectors"))
    bounds = lin_ucb.bounds(given, config)
    assert np.isfinite(bounds).all()
    np.testing.assert_allclose(bounds, lin_ucb.bounds(longer, config))


def test_with_epsilon_slates_come_as_often_as_their_propensities_say() -> None:
    slates = draws(POLICY, GIVEN, 2, 3_000, epsilon=0.4)
    assert_frequencies_match(slates, GIVEN, 2)
    assert min(slate.propensities[0] for slate in slates) == 0.1


def test_it_needs_what_its_features_are_made_of() -> None:
    assert lin_ucb.Config().needs == {"popularity", "age"}
    assert lin_ucb.Config(features=("score", "vectors")).needs == {"vectors"}


class World:
    """40 items in two categories; who asks likes one of them better, the model's score says little of that."""

    ITEMS, PLACES, ROUNDS = 40, 3, 1_500
    LOOK = np.array([1.0, 1 / np.log2(3), 0.5])

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.categories = np.eye(2)[np.arange(self.ITEMS) % 2]
        own = self.random.normal(0, 0.04, self.ITEMS)
        self.base = 0.08 + 0.2 * self.categories[:, 0] + own

    def regret(self, choose: Callable[[Candidates, np.random.Generator], np.ndarray]) -> float:
        """Expected clicks lost against who knows all, over all rounds."""
        sums = np.zeros((5, self.ITEMS))
        lost = 0.0
        for _ in range(self.ROUNDS):
            person = self.random.normal(0, 1, self.ITEMS)
            attraction = np.clip(self.base + 0.1 * person, 0.0, 1.0)
            scores = (2 * person + self.random.normal(0, 1, self.ITEMS)).astype(np.float32)
            order = np.argsort(-scores, kind="stable")
            known = ScoredClicks(
                examined=sums[0][order],
                clicks=sums[1][order],
                scores=sums[2][order],
                squared_scores=sums[3][order],
                clicked_scores=sums[4][order],
            )
            given = Candidates(
                items=order.astype(np.int64),
                scores=scores[order],
                categories=self.categories[order],
                clicks=Clicks(clicks=known.clicks, examined=known.examined),
                scored_clicks=known,
            )
            shown = choose(given, self.random)
            clicked = self.random.random(self.PLACES) < self.LOOK * attraction[shown]
            lost += float(self.LOOK @ (np.sort(attraction)[::-1][: self.PLACES] - attraction[shown]))
            score = scores[shown]
            for row, amount in zip(
                sums, (self.LOOK, clicked, self.LOOK * score, self.LOOK * score**2, clicked * score), strict=True
            ):
                row[shown] += amount
        return lost


@pytest.mark.parametrize("seed", [0, 1])
def test_it_loses_less_than_policies_that_do_not_learn_or_know_no_context(seed: int) -> None:
    def regret(policy: object, config: object) -> float:
        return World(seed).regret(lambda given, rng: policy.slate(given, World.PLACES, config, rng).items)  # type: ignore[attr-defined]

    linear = regret(lin_ucb, lin_ucb.Config(features=("score", "categories")))
    others = {
        "top_n": regret(top_n, top_n.Config()),
        "epsilon_slots": regret(epsilon_slots, epsilon_slots.Config(epsilon=0.1)),
        "thompson": regret(thompson, thompson.Config(draws=1)),
    }
    assert linear < 0.7 * min(others.values())
