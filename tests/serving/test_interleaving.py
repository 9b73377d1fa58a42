import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from recloop.loop.deployments import promote
from recloop.loop.traffic import begin_canary
from recloop.serving.asking import Recommendation, Scored
from recloop.serving.interleaving import TEAMS, Team, merge, team_draft
from recloop.store import Store
from tests.serving.test_following import WINDOW
from tests.support.bundles import packaged, popularity_bundle, world
from tests.support.service import serve

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


def test_equal_rankings_are_shown_as_they_are_and_each_begins_as_often() -> None:
    ranking = np.arange(5)
    slates = [team_draft(ranking, ranking, 4, np.random.default_rng(seed)) for seed in range(2_000)]
    assert all(slate.items.tolist() == [0, 1, 2, 3] for slate in slates)
    assert binomtest(sum(slate.teams[0] == "champion" for slate in slates), 2_000).pvalue > 0.001


def of(*items: str) -> Recommendation:
    scored = [Scored(item_id=item, score=10.0 * len(items) - place) for place, item in enumerate(items)]
    return Recommendation(
        items=scored,
        fallback=None,
        ignored=0,
        propensities=[1.0] * len(items),
        exact=True,
        seed=1,
        n_candidates=9,
        candidates="c",
    )


def test_two_answers_become_one_slate_with_the_scores_of_who_picked() -> None:
    champion, challenger = of("a", "b", "c"), of("b", "d")
    assert merge(champion, challenger, 3, "r") == merge(champion, challenger, 3, "r")
    found = {tuple(one.item_id for one in merge(champion, challenger, 3, str(n))[0]) for n in range(200)}
    assert found == {("a", "b", "c"), ("a", "b", "d"), ("b", "a", "c"), ("b", "a", "d")}
    for n in range(20):
        items, teams = merge(champion, challenger, 4, str(n))
        assert {one.item_id for one in items} == {"a", "b", "c", "d"}
        of_team = {"champion": champion.items, "challenger": challenger.items}
        assert all(one in of_team[team] for one, team in zip(items, teams, strict=True))
    assert merge(of(), of("x"), 2, "r") == (of("x").items, ["challenger"])


@pytest.mark.integration
def test_the_service_shows_and_logs_slates_of_both(tmp_path: Path) -> None:
    folder, url = tmp_path / "artifacts/bundle", f"sqlite:///{tmp_path}/store.sqlite"
    popularity_bundle(folder, world(), data={"train_window": WINDOW})
    with Store.open(url) as store:
        champion = promote(tmp_path, store, reason="First.").bundle
        packaged(folder, "ease", world(), data={"train_window": WINDOW})
        challenger = begin_canary(tmp_path, store, share=0.5, reason="Try it.", interleave=True).bundle
        with serve(None, url, root=tmp_path) as address, httpx.Client(base_url=address, timeout=30) as client:
            assert client.get("/model").json()["plan"]["canary"]["interleaved"] is True
            answers = [client.post("/recommend", json={"user_id": f"user-{n}", "k": 4}).json() for n in range(37)]
            until = time.monotonic() + 20
            while store.last_slate_seq() < len(answers):
                assert time.monotonic() < until, "the slates are not logged"
                time.sleep(0.05)
        slates = pl.concat(store.slates_after(0))
        places = pl.concat(store.impressions_after(0))
    both = {answer["request_id"] for answer in answers if answer["policy"] == "team_draft"}
    assert 5 < len(both) < 32
    assert set(slates.filter(arm="interleaved")["request_id"]) == both
    assert {answer["bundle"] for answer in answers} == set(slates["bundle"]) == {champion}
    drafted = places.filter(pl.col("request_id").is_in(list(both)))
    assert drafted["propensity"].null_count() == drafted.height == 4 * len(both)
    assert drafted.group_by("request_id").agg((pl.col("bundle") == challenger).sum())["bundle"].unique().to_list() == [
        2
    ]
    shown = {answer["request_id"]: [item["item_id"] for item in answer["items"]] for answer in answers}
    stored = dict(places.group_by("request_id", maintain_order=True).agg("item_id").iter_rows())
    assert stored == shown
    others = places.filter(~pl.col("request_id").is_in(list(both)))
    assert others["bundle"].unique().to_list() == [champion]
    assert others["propensity"].unique().to_list() == [1.0]
