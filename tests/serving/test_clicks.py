"""Click statistics that are counted while a model serves."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import make_url

from recloop.errors import ConfigError, StoreError
from recloop.policies import thompson
from recloop.serving.bundle import Bundle
from recloop.serving.clicks import ClicksConfig, ClickStatistics, examination
from recloop.serving.recommender import Recommender
from recloop.serving.traffic import Traffic
from recloop.store import Event, Slate, Store
from recloop.store.slates import Arm
from tests.support.bundles import popularity_bundle, world
from tests.support.service import serve
from tests.support.waiting import until

MOMENT = 1_700_000_000_000_000
SECOND = 1_000_000
CONFIG = ClicksConfig(seconds=0.02, slates=100, window_seconds=60, skew_seconds=5)


def slate(
    number: int,
    *items: str,
    user: str | None = "u",
    arm: Arm = "champion",
    bundle: str = "b",
    scores: Sequence[float] | None = None,
) -> Slate:
    return Slate(
        request_id=f"r{number}",
        timestamp=MOMENT,
        bundle=bundle,
        policy="thompson",
        items=items,
        scores=scores or [0.5] * len(items),
        user_id=user,
        arm=arm,
        worker="w",
        serial=number,
    )


def click(number: int, request: int | None, item: str, after: float = 1, **rest: str) -> Event:
    return Event(
        event_id=f"e{number}",
        user_id=rest.get("user", "u"),
        item_id=item,
        event=rest.get("event", "click"),
        timestamp=MOMENT + round(after * SECOND),
        request_id=None if request is None else f"r{request}",
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as opened:
        yield opened


@pytest.fixture
def follow(store: Store) -> Iterator[Callable[..., ClickStatistics]]:
    """Make statistics, in a thread or, where `read` is called, by hand."""
    made = list[ClickStatistics]()

    def make(config: ClicksConfig = CONFIG, open_store: Callable[[], Store] | None = None) -> ClickStatistics:
        made.append(ClickStatistics(open_store or partial(Store.open, store.url), config))
        return made[-1]

    yield make
    for statistics in made:
        statistics.close()


def read(statistics: ClickStatistics, store: Store) -> None:
    statistics._look(store)  # pyright: ignore[reportPrivateUsage]


def clicks(statistics: ClickStatistics, *items: str) -> list[float]:
    return statistics.clicks(items).clicks.tolist()


def examined(statistics: ClickStatistics, *items: str) -> list[float]:
    return statistics.clicks(items).examined.tolist()


def test_places_count_by_how_likely_they_are_looked_at_and_clicks_once(
    store: Store, follow: Callable[..., ClickStatistics]
) -> None:
    assert [examination(position) for position in (0, 2, 6)] == [1.0, 0.5, pytest.approx(1 / 3)]
    store.add_slates(
        [
            slate(1, "a", "b", "c"),
            slate(2, "c"),
            slate(3, "a", "b", arm="shadow"),
            slate(4, "a", "b", arm="interleaved"),
        ]
    )
    store.add_events(
        [
            click(1, 1, "c"),
            click(2, 1, "c", 2),
            click(3, 1, "c", event="purchase"),
            click(4, 1, "b", event="view"),
            click(5, 1, "d"),
            click(6, 1, "a", user="v"),
            click(7, 2, "c", -6),
            click(8, 2, "c", 61),
            click(9, 3, "a"),
            click(10, None, "a"),
        ]
    )
    statistics = follow()
    read(statistics, store)
    assert clicks(statistics, "a", "b", "c", "d") == [0, 0, 1, 0]
    assert examined(statistics, "a", "b", "c", "d") == pytest.approx([1, 1 / np.log2(3), 1.5, 0])


def test_a_slate_for_nobody_is_for_everybody_and_of_an_item_twice_on_it_the_first_place_counts(
    store: Store, follow: Callable[..., ClickStatistics]
) -> None:
    store.add_slates([slate(1, "a", "b", "a", user=None)])
    store.add_events([click(1, 1, "a", user="x"), click(2, 1, "a", user="y"), click(3, 1, "b", 60)])
    statistics = follow()
    read(statistics, store)
    assert clicks(statistics, "a", "b") == [1, 1]
    assert examined(statistics, "a", "b") == pytest.approx([1.5, 1 / np.log2(3)])


def test_scores_are_summed_for_each_bundle_by_itself(store: Store, follow: Callable[..., ClickStatistics]) -> None:
    store.add_slates([slate(1, "a", "b", "c", scores=[3, 2, 1.5]), slate(2, "c", scores=[0.5])])
    store.add_slates([slate(3, "c", bundle="other", scores=[70])])
    store.add_events([click(1, 1, "c"), click(2, 3, "c")])
    statistics = follow(CONFIG.model_copy(update={"slates": 3}))
    read(statistics, store)
    own, other = (statistics.scored_clicks(bundle, ["c", "nowhere"]) for bundle in ("b", "other"))
    assert own.examined.tolist() == [1.5, 0]
    assert own.clicks.tolist() == [1, 0]
    assert own.scores.tolist() == [0.5 * 1.5 + 0.5, 0]
    assert own.squared_scores.tolist() == [0.5 * 2.25 + 0.25, 0]
    assert own.clicked_scores.tolist() == [1.5, 0]
    assert (other.examined.tolist(), other.clicked_scores.tolist()) == ([1, 0], [70, 0])
    assert (clicks(statistics, "c"), examined(statistics, "c")) == ([2], [2.5])
    store.add_slates([slate(4, "c", bundle="other", scores=[10])])
    read(statistics, store)
    left = statistics.scored_clicks("b", ["c", "a"])
    assert (left.examined.tolist(), left.clicked_scores.tolist(), left.clicks.tolist()) == ([1, 0], [0, 0], [0, 0])
    assert statistics.scored_clicks("other", ["c"]).scores.tolist() == [80]


def test_a_click_waits_for_its_slate(store: Store, follow: Callable[..., ClickStatistics]) -> None:
    store.add_events([click(1, 1, "a"), click(2, 2, "a"), click(3, 3, "a")])
    statistics = follow(CONFIG.model_copy(update={"waiting": 2}))
    read(statistics, store)
    assert clicks(statistics, "a") == [0]
    store.add_slates([slate(3, "a")])
    read(statistics, store)
    assert clicks(statistics, "a") == [1]
    store.add_slates([slate(1, "a"), slate(2, "a")])
    read(statistics, store)
    assert (clicks(statistics, "a"), examined(statistics, "a")) == ([2], [3]), "the oldest of three was let go"


def test_only_the_newest_slates_count_also_for_one_who_starts_later(
    store: Store, follow: Callable[..., ClickStatistics]
) -> None:
    config = CONFIG.model_copy(update={"slates": 2})
    early = follow(config)
    store.add_slates([slate(1, "old", "a"), slate(2, "a")])
    store.add_events([click(1, 1, "old"), click(2, 1, "a"), click(3, 2, "a")])
    read(early, store)
    assert clicks(early, "old", "a") == [1, 2]
    store.add_slates([slate(3, "b", "a")])
    store.add_events([click(4, 3, "b"), click(5, 1, "old", 2)])
    read(early, store)
    late = follow(config)
    read(late, store)
    for statistics in (early, late):
        assert clicks(statistics, "old", "a", "b") == [0, 1, 1]
        assert examined(statistics, "old", "a", "b") == pytest.approx([0, 1 + 1 / np.log2(3), 1])


def test_nothing_counts_twice_where_reading_breaks_off(
    store: Store, follow: Callable[..., ClickStatistics], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Store.impressions_after
    monkeypatch.setattr(Store, "impressions_after", lambda self, seq: small(self, seq, 1))
    store.add_slates([slate(1, "a", "b", "c"), slate(2, "a", "b", "c")])
    statistics = follow()

    def breaks(self: Store, seq: int) -> Iterator[object]:
        yield next(small(self, seq, 1))
        raise StoreError("Away.")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "impressions_after", breaks)
        with pytest.raises(StoreError):
            read(statistics, store)
    assert examined(statistics, "a") == [0], "nothing is told before all was read once"
    read(statistics, store)
    read(statistics, store)
    assert examined(statistics, "a", "b", "c") == pytest.approx([2, 2 / np.log2(3), 1])


def test_while_the_store_is_away_it_answers_from_memory_and_then_goes_on(
    store: Store, follow: Callable[..., ClickStatistics]
) -> None:
    away, connections = False, list[Store]()

    def open_store() -> Store:
        if away:
            raise StoreError("The store is away.")
        connections.append(Store.open(store.url))
        return connections[-1]

    def fail(*_: object) -> None:
        raise StoreError("The store is away.")

    store.add_slates([slate(1, "a")])
    statistics = follow(open_store=open_store)
    assert examined(statistics, "a") == [0]
    assert not connections, "the thread runs only once it is wanted"
    statistics.start()
    statistics.start()
    until(lambda: examined(statistics, "a") == [1])
    away = True
    connections[-1].events_after = fail  # pyright: ignore[reportAttributeAccessIssue]
    store.add_slates([slate(2, "a")])
    store.add_events([click(1, 2, "a")])
    time.sleep(0.1)
    assert clicks(statistics, "a") == [0]
    away = False
    until(lambda: clicks(statistics, "a") == [1])
    assert examined(statistics, "a") == [2]
    assert len(connections) == 2


THOMPSON = {"serve": {"policy": "thompson", "policy_options": {"draws": 200}, "candidates": 20}}


class TestTraffic:
    def test_clicks_are_followed_once_a_policy_learns_from_them(
        self, tmp_path: Path, store: Store, follow: Callable[..., ClickStatistics]
    ) -> None:
        opened = partial(Store.open, store.url)
        store.add_slates([slate(1, "item-0")])
        statistics = follow()
        plain = popularity_bundle(tmp_path / "plain", world())
        Traffic(opened, root=tmp_path, default=plain, pinned=True, clicks=statistics).close()
        time.sleep(0.2)
        assert examined(statistics, "item-0") == [0]
        learning = popularity_bundle(tmp_path / "learning", world(), params=THOMPSON)
        Traffic(opened, root=tmp_path, default=learning, pinned=True, clicks=statistics).close()
        until(lambda: examined(statistics, "item-0") == [1])

    def test_lin_ucb_shows_first_what_is_clicked(self, store: Store, follow: Callable[..., ClickStatistics]) -> None:
        params = {"serve": {"policy": "lin_ucb", "policy_options": {"alpha": 0.1}, "candidates": 20}}
        folder = popularity_bundle(Path(str(make_url(store.url).database)).parent / "bundle", world(), params=params)
        bundle, statistics = Bundle.load(folder), follow()
        recommender = Recommender(bundle, clicks=statistics)
        first = recommender.recommend(k=20)
        liked = first.items[-1].item_id
        ids, scores = [one.item_id for one in first.items], [one.score for one in first.items]
        store.add_slates([slate(number, *ids, bundle=bundle.id, scores=scores) for number in range(50)])
        store.add_events([click(number, number, liked) for number in range(50)])
        read(statistics, store)
        then = recommender.recommend(k=20)
        assert recommender.learns
        assert then.items[0].item_id == liked
        assert then.propensities == [1.0] * 20

    def test_a_bundle_that_learns_is_refused_where_nothing_is_counted(self, tmp_path: Path) -> None:
        bundle = Bundle.load(popularity_bundle(tmp_path / "bundle", world(), params=THOMPSON))
        with pytest.raises(ConfigError, match=r"the policy 'thompson' needs clicks, but it comes without"):
            Recommender(bundle)


@pytest.mark.integration
def test_clicks_change_what_thompson_sampling_shows_in_the_running_service(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    bundle = popularity_bundle(tmp_path / "bundle", world(), params=THOMPSON)

    def chances(requests: Sequence[str]) -> dict[str, float]:
        """The mean propensity of the first place, by the item that stood there."""
        with Store.open(url) as store:
            rows = [row for frame in store.impressions_after(0) for row in frame.iter_rows(named=True)]
        first = [row for row in rows if row["request_id"] in requests and row["position"] == 0]
        items = {row["item_id"] for row in first}
        return {item: float(np.mean([row["propensity"] for row in first if row["item_id"] == item])) for item in items}

    def logged(requests: Sequence[str]) -> bool:
        with Store.open(url) as store:
            known = {row for frame in store.slates_after(0) for row in frame["request_id"]}
        return set(requests) <= known

    with serve(bundle, url) as address, httpx.Client(base_url=address, timeout=30) as client:

        def ask(k: int) -> dict[str, object]:
            return client.post("/recommend", json={"k": k}).raise_for_status().json()

        before = [str(ask(1)["request_id"]) for _ in range(30)]
        until(partial(logged, before))
        prior = chances(before)
        # 20 candidates with one belief: each is first with a chance of about 1 / 20.
        assert max(prior.values()) < 0.15
        assert min(prior.values()) > 0
        shown = [ask(20) for _ in range(40)]
        liked = "item-1"
        events = [
            {
                "event_id": f"e{number}",
                "user_id": "somebody",
                "item_id": liked,
                "event": "click",
                "timestamp": time.time(),
                "request_id": answer["request_id"],
            }
            for number, answer in enumerate(shown)
        ]
        client.post("/feedback", json={"events": events}).raise_for_status()

        def learnt() -> bool:
            requests = [str(ask(1)["request_id"]) for _ in range(10)]
            until(partial(logged, requests))
            return chances(requests).get(liked, 0) > 0.9

        until(learnt)


def test_the_prior_is_what_thompson_sampling_serves_by_before_the_first_statistics() -> None:
    nothing = ClickStatistics(lambda: pytest.fail("it was not started")).clicks(["a", "b"])
    assert (nothing.clicks.tolist(), nothing.examined.tolist()) == ([0, 0], [0, 0])
    assert "clicks" in thompson.NEEDS
