from collections.abc import Iterator
from pathlib import Path

import pytest

from recloop.loop.canary import CanaryConfig, review
from recloop.loop.deployments import promote
from recloop.loop.sequential import SequentialConfig
from recloop.loop.traffic import begin_canary
from recloop.store import Event, Store
from recloop.store.slates import Slate
from tests.loop.test_deployments import package

BEGIN = 1_700_000_000_000_000
HOUR = 3_600_000_000
LATER = BEGIN + 50 * HOUR
CONFIG = CanaryConfig(test=SequentialConfig(min_users=20, tuned_for=200))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite", clock=lambda: BEGIN) as opened:
        yield opened


def begin(root: Path, store: Store) -> tuple[str, str]:
    """Champion and canary."""
    champion = package(root, "ease")
    promote(root, store, reason="First.")
    canary = package(root, "als")
    begin_canary(root, store, share=0.3, reason="Try it.")
    return champion, canary


def serve(store: Store, bundles: tuple[str, str], clicks: tuple[int, int], *, empty: bool = False) -> None:
    """100 users an arm with one slate each; of ten users of an arm, so many click."""
    slates, events = list[Slate](), list[Event]()
    for arm, bundle, clicked in zip(("champion", "canary"), bundles, clicks, strict=True):
        for number in range(100):
            request, user = f"{arm}-{number}", f"user-{arm}-{number}"
            items = [] if empty and arm == "canary" else ["x", "y"]
            slates.append(
                Slate(
                    request_id=request,
                    timestamp=BEGIN + HOUR,
                    bundle=bundle,
                    policy="top_n",
                    arm=arm,  # pyright: ignore[reportArgumentType]
                    worker="w",
                    serial=len(slates),
                    items=items,
                    scores=[1.0] * len(items),
                    propensities=[1.0] * len(items),
                    user_id=user,
                )
            )
            if items and number % 10 < clicked:
                moment = BEGIN + 2 * HOUR
                events.append(
                    Event(
                        event_id=request, user_id=user, item_id="x", event="click", timestamp=moment, request_id=request
                    )
                )
    store.add_slates(slates)
    store.add_events(events)


@pytest.mark.parametrize(
    ("clicks", "verdict", "left"),
    [((1, 7), "promote", 1), ((7, 1), "roll back", 0), ((3, 3), "go on", None)],
)
def test_a_review_decides_and_does_it(
    tmp_path: Path, store: Store, clicks: tuple[int, int], verdict: str, left: int | None
):
    bundles = begin(tmp_path, store)
    serve(store, bundles, clicks)
    found = review(tmp_path, store, CONFIG, now=LATER)
    assert found
    assert (found.bundle, found.judgement.verdict) == (bundles[1], verdict)
    assert found.judgement.users == {"canary": 100, "champion": 100}
    assert found.judgement.intervals["reward"]["estimate"] == pytest.approx((clicks[1] - clicks[0]) / 10)
    decision = store.decisions(limit=1)[0]
    assert (decision.kind, decision.verdict, decision.record["reason"]) == ("canary", verdict, found.judgement.reason)
    in_traffic = set(bundles) if left is None else {bundles[left]}
    assert store.traffic().bundles == in_traffic


def test_empty_slates_end_a_canary(tmp_path: Path, store: Store):
    bundles = begin(tmp_path, store)
    serve(store, bundles, (0, 0), empty=True)
    found = review(tmp_path, store, CONFIG, now=LATER)
    assert found
    assert found.judgement.reason.startswith("The canary has more of 'empty': +1")
    assert store.traffic().canary is None


def test_users_whose_time_is_not_over_do_not_count_and_no_end_is_without_limit(tmp_path: Path, store: Store):
    bundles = begin(tmp_path, store)
    serve(store, bundles, (1, 7))
    early = review(tmp_path, store, CONFIG, now=BEGIN + 48 * HOUR)
    assert early
    assert early.judgement.users == {"canary": 0, "champion": 0}
    assert early.message.startswith("The canary goes on. The canary has 0 users of the 20 that are needed.")


def test_a_canary_that_nobody_saw_ends_undecided(tmp_path: Path, store: Store):
    begin(tmp_path, store)
    found = review(tmp_path, store, CONFIG, now=BEGIN + 14 * 24 * HOUR)
    assert found
    assert found.judgement.verdict == "undecided"
    assert store.traffic().canary is None
    assert review(tmp_path, store, CONFIG, now=BEGIN) is None
