import time
from pathlib import Path
from threading import Event

import pytest

from recloop.errors import DataError
from recloop.serving.answer import answer
from recloop.serving.asking import Recommendation
from recloop.serving.bundle import Bundle
from recloop.serving.limit import TimeLimit
from recloop.serving.recommender import Recommender
from recloop.serving.traffic import Served
from recloop.store import Store
from tests.support.bundles import popularity_bundle, world

LIMIT = TimeLimit(0.2, 1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, Recommender]:
    folder = tmp_path_factory.mktemp("bundles")
    made = (popularity_bundle(folder / str(events), world(events=events)) for events in (700, 500))
    champion, canary = (Recommender(Bundle.load(bundle)) for bundle in made)
    return champion, canary


@pytest.fixture
def served(tmp_path: Path, pair: tuple[Recommender, Recommender]) -> Served:
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as store:
        store.deploy("promote", pair[0].bundle.id, "popularity", "First.")
        store.deploy("canary", pair[1].bundle.id, "popularity", "Try it.", share=0.999999)
        return Served(plan=store.traffic(), recommenders={one.bundle.id: one for one in pair})


@pytest.fixture
def both(tmp_path: Path, pair: tuple[Recommender, Recommender]) -> Served:
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as store:
        store.deploy("promote", pair[0].bundle.id, "popularity", "First.")
        store.deploy("interleave", pair[1].bundle.id, "popularity", "Try it.", share=0.999999)
        return Served(plan=store.traffic(), recommenders={one.bundle.id: one for one in pair})


def good(asked: Recommender) -> Recommendation:
    return asked.recommend(user_id="user-1", k=3)


@pytest.mark.parametrize("error", [ValueError("a bug"), DataError("It says no.")])
def test_where_the_canary_fails_the_champion_answers(
    served: Served, pair: tuple[Recommender, Recommender], error: Exception, caplog: pytest.LogCaptureFixture
):
    def ask(asked: Recommender) -> Recommendation:
        if asked is pair[1]:
            raise error
        return good(asked)

    found = answer(served, ask, k=3, user_id="user-1", request_id="r", limit=LIMIT)
    assert found
    assert (found.by, found.arm, found.failed, found.error) == (pair[0], "canary", pair[1].bundle.id, None)
    assert found.slate
    assert [item.item_id for item in found.slate.items] == [item.item_id for item in good(pair[0]).items]
    shown = found.exposure("r", "user-1", 0.25)
    assert (shown.bundle, shown.failed, shown.arm) == (pair[0].bundle.id, pair[1].bundle.id, "canary")
    assert (shown.took, shown.places, shown.fallback) == (250_000, 3, None)
    assert f"failed, and the champion answered: {type(error).__name__}: {error}" in caplog.text


def test_where_the_canary_hangs_the_champion_answers(served: Served, pair: tuple[Recommender, Recommender]):
    go_on = Event()

    def ask(asked: Recommender) -> Recommendation:
        if asked is pair[1]:
            assert go_on.wait(20)
        return good(asked)

    for _ in range(2):
        found = answer(served, ask, k=3, user_id="user-1", request_id="r", limit=LIMIT)
        assert found
        assert (found.by, found.failed) == (pair[0], pair[1].bundle.id)
    go_on.set()


def test_a_bad_request_is_nobodys_failure(served: Served):
    def ask(asked: Recommender) -> Recommendation:
        raise DataError("It is bad.")

    with pytest.raises(DataError, match="It is bad"):
        answer(served, ask, k=3, user_id="user-1", request_id="r", limit=LIMIT)


def test_where_both_fail_the_request_is_logged_as_empty(served: Served, pair: tuple[Recommender, Recommender]):
    def ask(asked: Recommender) -> Recommendation:
        raise ValueError(asked.bundle.id)

    found = answer(served, ask, k=3, user_id="user-1", request_id="r", limit=LIMIT)
    assert found
    assert str(found.error) == pair[0].bundle.id
    shown = found.exposure("r", None, 0.001)
    assert (shown.bundle, shown.failed, shown.places) == (pair[0].bundle.id, pair[1].bundle.id, 0)
    alone = answer(Served(only=pair[0]), ask, k=3, user_id=None, request_id="r", limit=LIMIT)
    assert alone
    assert (alone.arm, alone.failed, alone.slate) == ("champion", pair[0].bundle.id, None)
    assert answer(Served(), ask, k=3, user_id=None, request_id="r", limit=LIMIT) is None


def test_an_interleaved_slate_has_picks_of_both_and_no_propensities(
    both: Served, pair: tuple[Recommender, Recommender]
):
    def ask(asked: Recommender) -> Recommendation:
        if asked is pair[0]:
            time.sleep(0.1)
        return good(asked)

    found = answer(both, ask, k=3, user_id="user-1", request_id="r", limit=LIMIT)
    assert found
    shown = found.exposure("r", "user-1", 0.5)
    assert (shown.arm, shown.policy, shown.bundle) == ("interleaved", "team_draft", pair[0].bundle.id)
    assert shown.propensities == [None] * 3
    assert set(shown.bundles or []) == {one.bundle.id for one in pair}
    assert shown.took is not None
    assert shown.took < 100_000, "the challenger is judged by its own time"


def test_where_an_interleaved_challenger_fails_the_champion_answers_alone(
    both: Served, pair: tuple[Recommender, Recommender]
):
    def ask(asked: Recommender) -> Recommendation:
        if asked is pair[1]:
            raise ValueError("a bug")
        return good(asked)

    found = answer(both, ask, k=3, user_id="user-1", request_id="r", limit=LIMIT)
    assert found
    shown = found.exposure("r", "user-1", 0.5)
    assert (shown.arm, shown.policy, shown.bundles) == ("interleaved", "top_n", None)
    assert (shown.failed, shown.propensities) == (pair[1].bundle.id, [1.0] * 3)
