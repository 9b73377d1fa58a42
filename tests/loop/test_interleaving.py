from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.loop.interleaving import TEAMS, Team, contest, team_draft

RANKINGS = st.lists(st.integers(0, 12), unique=True, max_size=8).map(lambda items: np.array(items, dtype=np.int64))


def test_all_drafts_of_two_rankings_by_hand() -> None:
    """A coin a round: a b c against b d, three places."""
    champion, challenger = np.array([0, 1, 2]), np.array([1, 3])
    found = Counter[tuple[tuple[int, ...], tuple[Team, ...]]]()
    for seed in range(4_000):
        slate = team_draft(champion, challenger, 3, np.random.default_rng(seed))
        found[tuple(slate.items.tolist()), slate.teams] += 1
    a, b = TEAMS
    expected: dict[tuple[tuple[int, ...], tuple[Team, ...]], float] = {
        ((0, 1, 2), (a, b, a)): 0.25,
        ((0, 1, 3), (a, b, b)): 0.25,
        ((1, 0, 2), (b, a, a)): 0.25,
        ((1, 0, 3), (b, a, b)): 0.25,
    }
    assert set(found) == set(expected)
    for slate, share in expected.items():
        assert found[slate] / 4_000 == pytest.approx(share, abs=0.03)


@given(RANKINGS, RANKINGS, st.integers(0, 10), st.integers(0, 99))
def test_a_draft_holds_no_item_twice_and_is_fair(
    champion: np.ndarray, challenger: np.ndarray, k: int, seed: int
) -> None:
    slate = team_draft(champion, challenger, k, np.random.default_rng(seed))
    both = set(champion.tolist()) | set(challenger.tolist())
    assert len(set(slate.items.tolist())) == len(slate.items) == min(k, len(both))
    assert set(slate.items.tolist()) <= both
    picks = Counter(slate.teams)
    if k <= min(len(champion), len(challenger)):
        assert abs(picks["champion"] - picks["challenger"]) <= 1


def test_equal_rankings_are_shown_as_they_are_and_win_alike() -> None:
    ranking = np.arange(5)
    slates = [team_draft(ranking, ranking, 4, np.random.default_rng(seed)) for seed in range(2_000)]
    assert all(slate.items.tolist() == [0, 1, 2, 3] for slate in slates)
    found = contest([slate.teams[:1] for slate in slates])
    assert sum(found.wins) == 2_000
    assert found.p > 0.001


def test_wins_ties_and_the_sign_test_by_hand() -> None:
    a, b = TEAMS
    found = contest([[a], [b, b, a], [b], [], [a, b], [b], [b], [b]])
    assert (found.wins, found.ties) == ((1, 5), 2)
    assert found.p == pytest.approx(2 * (1 + 6) / 64)
    assert contest([[], [a, b]]).p == 1.0
