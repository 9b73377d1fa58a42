"""What holds for every policy, whatever the candidates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.errors import ConfigError
from recloop.policies import Candidates, Clicks, ScoredClicks, Slate, exact, find, first_place, names, thompson, top_n
from tests.support.slates import candidates

SCORES = st.lists(st.sampled_from([-3.0, 0.0, 0.5, 0.5, 2.0, 40.0]), max_size=7)


def full(scores: list[float]) -> Candidates:
    """Candidates of which everything is known."""
    n = len(scores)
    return candidates(
        *sorted(scores, reverse=True),
        vectors=np.array([[row % 3, 1] for row in range(n)], dtype=np.float32).reshape(n, 2),
        categories=np.eye(3)[np.arange(n) % 3],
        history_categories=np.array([0.5, 0.5, 0.0]),
        popularity=np.arange(n, dtype=np.float64),
        age=np.where(np.arange(n) % 2, np.arange(n) + 1.0, np.inf),
        clicks=Clicks(clicks=np.arange(n, dtype=np.float64), examined=np.linspace(0.0, 9.0, n)),
        scored_clicks=ScoredClicks(
            examined=np.linspace(0.0, 9.0, n),
            clicks=np.arange(n) % 2.0,
            scores=np.linspace(0.0, 9.0, n) * 2.0,
            squared_scores=np.linspace(0.0, 9.0, n) * 4.5,
            clicked_scores=(np.arange(n) % 2.0) * 2.5,
        ),
    )


def test_policies_are_found_by_the_name_of_their_module() -> None:
    assert {"top_n", "plackett_luce", "epsilon_slots"} <= set(names())
    assert find("top_n") is top_n


def test_an_unknown_policy_lists_the_valid_names() -> None:
    with pytest.raises(ConfigError, match=r"There is no slate policy 'topn'; choose from: .*top_n.*\."):
        find("topn")


@pytest.mark.parametrize("name", names())
@given(scores=SCORES, k=st.integers(1, 9), seed=st.integers(0, 2**63 - 1))
def test_a_slate_holds_only_candidates_none_twice_and_at_most_k_and_depends_on_the_seed_alone(
    name: str, scores: list[float], k: int, seed: int
) -> None:
    policy = find(name)
    given_candidates = full(scores)
    first, second = (policy.slate(given_candidates, k, policy.Config(), np.random.default_rng(seed)) for _ in range(2))
    items = first.items.tolist()
    assert len(items) == len(set(items)) <= min(k, len(scores))
    assert set(items) <= set(given_candidates.items.tolist())
    score_of = dict(zip(given_candidates.items.tolist(), given_candidates.scores.tolist(), strict=True))
    assert first.scores.tolist() == [score_of[item] for item in items]
    assert first.propensities.shape == (len(items),)
    assert ((first.propensities > 0) & (first.propensities <= 1)).all()
    assert items == second.items.tolist()
    assert first.propensities.tolist() == second.propensities.tolist()


@pytest.mark.parametrize("name", names())
@given(scores=SCORES, seed=st.integers(0, 2**63 - 1))
def test_the_first_place_is_as_likely_as_slates_say(name: str, scores: list[float], seed: int) -> None:
    policy, given_candidates = find(name), full(scores)
    chances = first_place(policy, given_candidates, policy.Config())
    assert (chances is None) == (name == "thompson")
    if chances is None:
        return
    assert chances.shape == (len(scores),)
    np.testing.assert_allclose(chances.sum(), min(1, len(scores)))
    made = policy.slate(given_candidates, 1, policy.Config(), np.random.default_rng(seed))
    if scores:
        np.testing.assert_allclose(chances[given_candidates.items == made.items[0]], made.propensities[:1])


def test_propensities_are_exact_but_for_those_of_thompson_sampling() -> None:
    assert [name for name in names() if not exact(name)] == ["thompson"]
    assert exact("of another installation")
    assert thompson.EXACT is False


@pytest.mark.parametrize("name", names())
def test_every_need_is_a_field_of_candidates(name: str) -> None:
    policy = find(name)
    assert policy.NEEDS | policy.Config().needs <= set(Candidates.__dataclass_fields__) - {"items", "scores"}


def test_the_propensity_of_a_slate_is_the_product_over_its_places() -> None:
    three = candidates(3.0, 2.0, 1.0)
    slate = Slate.of(three, np.array([2, 0]), np.array([0.25, 0.5]))
    assert (slate.items.tolist(), slate.scores.tolist()) == ([102, 100], [1.0, 3.0])
    assert slate.slate_propensity == 0.125
    assert Slate.of(three, np.array([], dtype=np.int64)).slate_propensity == 1.0
