import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from recloop.data.bundles import copy, read_manifest
from recloop.errors import StoreError
from recloop.serving.traffic import FollowConfig, Traffic
from recloop.store import Store
from tests.support.bundles import popularity_bundle, world
from tests.support.waiting import until

SOON = FollowConfig(poll_seconds=0.05, shadow_requests=2)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of three bundles by id, in a fixed order."""
    folder, found = tmp_path_factory.mktemp("bundles"), dict[str, Path]()
    for events in (700, 500, 300):
        made = popularity_bundle(folder / str(events), world(events=events))
        found[_id(made)] = made
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as opened:
        yield opened


@pytest.fixture
def follow(tmp_path: Path, store: Store, bundles: dict[str, Path]) -> Iterator[Callable[..., Traffic]]:
    """Make a worker's traffic; the project keeps all three bundles, the first is the default."""
    made = list[Traffic]()
    for bundle, folder in bundles.items():
        (tmp_path / "artifacts/bundles").mkdir(parents=True, exist_ok=True)
        copy(folder, tmp_path / "artifacts/bundles" / bundle)

    def make(open_store: Callable[[], Store] | None = None, *, pinned: bool = False) -> Traffic:
        default = next(iter(bundles.values()))
        opens = open_store or (lambda: Store.open(store.url))
        made.append(Traffic(opens, root=tmp_path, default=default, pinned=pinned, config=SOON))
        return made[-1]

    yield make
    for traffic in made:
        traffic.close()


def _id(folder: Path) -> str:
    return read_manifest(folder)["id"]


def test_without_deployments_the_default_is_served(follow: Callable[..., Traffic], bundles: dict[str, Path]):
    traffic = follow()
    arm, chosen = traffic.served.choose("user-1", "r")
    assert arm == "champion"
    assert chosen
    assert chosen.bundle.id == next(iter(bundles))
    assert traffic.state() == {
        "pinned": False,
        "champion": next(iter(bundles)),
        "since": None,
        "canary": None,
        "shadow": None,
    }


def test_promotion_canary_shadow_and_rollback_are_followed(
    follow: Callable[..., Traffic], store: Store, bundles: dict[str, Path]
):
    a, b, c = bundles
    traffic = follow()
    store.deploy("promote", b, "popularity", "New.")
    until(lambda: traffic.state()["champion"] == b)
    store.deploy("canary", c, "popularity", "Try it.", share=0.5)
    store.deploy("shadow", a, "popularity", "Look.")
    until(lambda: traffic.state()["shadow"] is not None)
    served = traffic.served
    arms = {user: served.choose(user, "r") for user in (f"user-{number}" for number in range(64))}
    assert {(arm, chosen and chosen.bundle.id) for arm, chosen in arms.values()} == {("champion", b), ("canary", c)}
    assert traffic.state()["canary"]["share"] == 0.5
    store.deploy("end", c, "popularity", "Worse.")
    store.deploy("end", a, "popularity", "Seen.")
    until(lambda: set(traffic.served.recommenders) == {b})
    assert served.choose("user-1", "r")[1] is not None


def test_a_pinned_bundle_is_served_whatever_the_store_says(
    follow: Callable[..., Traffic], store: Store, bundles: dict[str, Path]
):
    a, b, _ = bundles
    store.deploy("promote", b, "popularity", "New.")
    traffic = follow(pinned=True)
    traffic.look()
    assert (traffic.state()["pinned"], traffic.state()["champion"]) == (True, a)


def test_the_plan_stays_while_the_store_is_away(follow: Callable[..., Traffic], store: Store, bundles: dict[str, Path]):
    a, b, _ = bundles
    away = Event()

    def opens() -> Store:
        if away.is_set():
            raise StoreError("The store is away.")
        return Store.open(store.url)

    store.deploy("promote", b, "popularity", "New.")
    traffic = follow(opens)
    away.set()
    assert traffic._store  # pyright: ignore[reportPrivateUsage]
    traffic._store = None  # pyright: ignore[reportPrivateUsage]
    assert traffic.look().champion is not None
    assert traffic.state()["champion"] == b
    store.deploy("promote", a, "popularity", "New.")
    away.clear()
    until(lambda: traffic.state()["champion"] == a)


def test_a_bundle_that_cannot_be_loaded_changes_nothing(
    follow: Callable[..., Traffic], store: Store, bundles: dict[str, Path]
):
    _, b, _ = bundles
    store.deploy("promote", b, "popularity", "New.")
    traffic = follow()
    store.deploy("promote", "missing", "popularity", "New.")
    traffic.look()
    assert traffic.state()["champion"] == b


def test_a_challenger_that_cannot_be_loaded_holds_up_no_promotion(
    follow: Callable[..., Traffic], store: Store, bundles: dict[str, Path]
):
    a, b, _ = bundles
    store.deploy("promote", b, "popularity", "New.")
    store.deploy("shadow", "missing", "popularity", "Look.")
    traffic = follow()
    assert traffic.state()["champion"] == b
    store.deploy("promote", a, "popularity", "New.")
    until(lambda: traffic.state()["champion"] == a)
    assert traffic.state()["shadow"] is None


def test_the_shadow_is_asked_off_the_path_and_its_queue_is_bounded(
    follow: Callable[..., Traffic], store: Store, bundles: dict[str, Path]
):
    a, b, _ = bundles
    store.deploy("promote", a, "popularity", "New.")
    traffic = follow()
    assert not traffic.shadow(lambda _: None)
    store.deploy("shadow", b, "popularity", "Look.")
    until(lambda: traffic.served.shadow is not None)
    begun, go_on, asked = Event(), Event(), list[str]()

    def slow(shadow: object) -> None:
        begun.set()
        assert go_on.wait(20)
        asked.append(shadow.bundle.id)  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("a shadow's own fault")

    assert traffic.shadow(slow)
    assert begun.wait(20)
    assert [traffic.shadow(slow) for _ in range(3)] == [True, True, False]
    go_on.set()
    until(lambda: asked == [b, b, b])


def test_what_is_loaded_is_left_out_of_collections_and_what_has_gone_is_freed(
    follow: Callable[..., Traffic], store: Store, bundles: dict[str, Path]
):
    before = gc.get_threshold()
    try:
        traffic = follow()
        assert gc.get_freeze_count() > 0
        champion = traffic.served.champion
        assert champion
        old, other = weakref.ref(champion), list(bundles)[1]
        champion.recommend(user_id="user-1")
        del champion
        store.deploy("promote", other, "popularity", "test")
        until(lambda: traffic.state()["champion"] == other)
        until(lambda: old() is None)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
