from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recloop.loop.canary import CanaryConfig, guard, review
from recloop.loop.deployments import promote, status
from recloop.loop.guardrails import GuardrailConfig
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


def serve(
    store: Store,
    bundles: tuple[str, str],
    clicks: tuple[int, int],
    *,
    empty: bool = False,
    failing: bool = False,
    visit: str = "first",
    took: tuple[int, int] = (5_000, 5_000),
) -> None:
    """100 users an arm with one slate each; of ten users of an arm, so many click. Where the canary fails, the champion
    answers."""
    slates, events = list[Slate](), list[Event]()
    for arm, bundle, clicked, long in zip(("champion", "canary"), bundles, clicks, took, strict=True):
        for number in range(100):
            request, user = f"{visit}-{arm}-{number}", f"user-{arm}-{number}"
            items = [] if empty and arm == "canary" else ["x", "y"]
            failed = bundle if failing and arm == "canary" else None
            slates.append(
                Slate(
                    request_id=request,
                    timestamp=BEGIN + HOUR,
                    bundle=bundles[0] if failed else bundle,
                    failed=failed,
                    took=long,
                    policy="top_n",
                    arm=arm,  # pyright: ignore[reportArgumentType]
                    worker=visit,
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
    assert found.judgement.interval["estimate"] == pytest.approx((clicks[1] - clicks[0]) / 10)
    decision = store.decisions(limit=1)[0]
    assert (decision.kind, decision.verdict, decision.record["reason"]) == ("canary", verdict, found.judgement.reason)
    in_traffic = set(bundles) if left is None else {bundles[left]}
    assert store.traffic().bundles == in_traffic


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ({"empty": True}, "Answered with nothing: 100.0% of the canary's requests, 0.0% of the champion's; 1.0% more"),
        ({"failing": True}, "Failed: 100.0% of the canary's requests, 0.0% of the champion's; 1.0% more is allowed."),
        (
            {"took": (5_000, 200_000)},
            "The canary took 200.0 ms for an answer, the champion 5.0 ms; allowed are 1.5 t",
        ),
    ],
)
def test_a_canary_that_does_harm_is_ended_minutes_later(
    tmp_path: Path, store: Store, harm: dict[str, Any], reason: str
):
    bundles = begin(tmp_path, store)
    assert guard(tmp_path, store, CONFIG, now=BEGIN + HOUR) is None
    serve(store, bundles, (0, 0), **harm)
    assert guard(tmp_path, store, CONFIG, now=BEGIN + HOUR) is None, "the visits are not over"
    assert store.decisions() == []
    found = guard(tmp_path, store, CONFIG, now=BEGIN + HOUR + 120_000_000)
    assert found
    assert found.message.startswith(f"Bundle {bundles[1]} (als) is out of the traffic. {reason}")
    assert store.traffic().canary is None
    state = status(tmp_path, store)
    assert state["history"][-1]["reason"] == found.judgement.reason
    assert (state["review"]["verdict"], state["review"]["record"]["reason"]) == ("roll back", found.judgement.reason)
    assert {name for name, one in state["review"]["record"]["guardrails"].items() if one["harm"]} == {
        next(iter(harm)).replace("failing", "failed").replace("took", "latency")
    }
    assert guard(tmp_path, store, CONFIG, now=LATER) is None


def test_a_user_whom_the_canary_failed_is_one_of_the_canarys(tmp_path: Path, store: Store):
    bundles = begin(tmp_path, store)
    serve(store, bundles, (1, 7), failing=True)
    lenient = CONFIG.model_copy(update={"guardrails": GuardrailConfig(max_error_increase=0.99)})
    found = review(tmp_path, store, lenient, now=LATER)
    assert found
    assert found.judgement.users == {"canary": 100, "champion": 100}
    assert (found.guardrails["failed"].canary, found.guardrails["failed"].champion) == (1, 0)


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


def test_only_what_came_since_the_share_changed_is_read(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    bundles = begin(tmp_path, store)
    serve(store, bundles, (1, 7))
    slates, events = store.last_slate_seq(), store.last_event_seq()
    begin_canary(tmp_path, store, share=0.4, reason="More.")
    serve(store, bundles, (1, 7), visit="again")
    asked = list[tuple[str, int]]()
    for name in ("slates_after", "events_after", "impressions_after"):
        read = getattr(Store, name)

        def spy(opened: Store, seq: int, name: str = name, read: Any = read) -> Any:
            asked.append((name, seq))
            return read(opened, seq)

        monkeypatch.setattr(Store, name, spy)
    found = review(tmp_path, store, CONFIG, now=LATER)
    assert found
    assert found.judgement.users == {"canary": 100, "champion": 100}
    assert asked == [("slates_after", slates), ("events_after", events), ("impressions_after", slates)]


@pytest.mark.parametrize(("prefer", "verdict"), [((2, 60), "promote"), ((60, 2), "roll back"), ((20, 21), "go on")])
def test_preference_decides_on_interleaved_slates(tmp_path: Path, store: Store, prefer: tuple[int, int], verdict: str):
    champion = package(tmp_path, "ease")
    promote(tmp_path, store, reason="First.")
    canary = package(tmp_path, "als")
    assert begin_canary(tmp_path, store, share=0.3, reason="Try it.", interleave=True).message.startswith(
        f"Bundle {canary} (als) is interleaved with the champion now, with 30.0% of the users."
    )
    slates, events = list[Slate](), list[Event]()
    for number in range(100):
        request, user, moment = f"r{number}", f"u{number}", BEGIN + HOUR
        slates.append(
            Slate(
                request_id=request,
                timestamp=moment,
                bundle=champion,
                policy="team_draft",
                arm="interleaved",
                worker="w",
                serial=number,
                items=["x", "y"],
                scores=[1.0, 0.5],
                propensities=[None, None],
                bundles=[champion, canary] if number % 2 else [canary, champion],
                user_id=user,
            )
        )
        liked = champion if number < prefer[0] else canary if number < sum(prefer) else None
        for place, owner in enumerate(slates[-1].bundles or []):
            if owner == liked:
                events.append(
                    Event(
                        event_id=request,
                        user_id=user,
                        item_id="xy"[place],
                        event="click",
                        timestamp=moment + 1,
                        request_id=request,
                    )
                )
    store.add_slates(slates)
    store.add_events(events)
    found = review(tmp_path, store, CONFIG, now=LATER)
    assert found
    assert found.judgement.users == {
        "canary": prefer[1],
        "champion": prefer[0],
        "tied": 100 - sum(prefer),
    }
    assert found.judgement.verdict == verdict
    left = {"promote": {canary}, "roll back": {champion}, "go on": {champion, canary}}[verdict]
    assert store.traffic().bundles == left
