from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recloop.store import Event, Slate, Store
from recloop.store.records import Deployment, changes
from recloop.store.traffic import Canary, Shadow, TrafficPlan, arm, plan, point


def row(seq: int, action: str, bundle: str, share: float | None = None) -> Deployment:
    values: dict[str, Any] = {"model": f"model {bundle}", "previous": None, "reason": "Because."}
    return Deployment(seq=seq, timestamp=100 * seq, action=action, bundle=bundle, share=share, **values)


def rows(*steps: tuple[str, str] | tuple[str, str, float]) -> list[Deployment]:
    return [row(seq, *step) for seq, step in enumerate(steps, 1)]


STEPS = st.tuples(
    st.sampled_from(["promote", "rollback", "canary", "interleave", "shadow", "end"]),
    st.sampled_from("abcd"),
    st.none() | st.floats(-0.5, 1.5),
)


def test_nothing_deployed_is_an_empty_plan():
    assert plan([]) == TrafficPlan()
    assert TrafficPlan().bundles == frozenset()


def test_a_canary_and_a_shadow_beside_the_champion():
    steps = rows(("promote", "a"), ("canary", "b", 0.1), ("shadow", "c"), ("canary", "b", 0.3))
    found = plan(steps)
    assert found == TrafficPlan(
        champion=steps[0],
        canary=Canary(bundle="b", model="model b", share=0.3, salt="b 2", since=200, share_since=400),
        shadow=Shadow(bundle="c", model="model c", since=300),
    )
    assert found.bundles == {"a", "b", "c"}


def test_a_canary_that_comes_back_draws_other_users():
    first = plan(rows(("promote", "a"), ("canary", "b", 0.1))).canary
    again = plan(rows(("promote", "a"), ("canary", "b", 0.1), ("end", "b"), ("canary", "b", 0.1))).canary
    assert first
    assert again
    assert first.salt != again.salt


def test_a_canary_that_is_interleaved_instead_begins_anew():
    steps = rows(("promote", "a"), ("canary", "b", 0.1), ("interleave", "b", 0.1), ("interleave", "b", 0.2))
    assert plan(steps).canary == Canary(
        bundle="b", model="model b", share=0.2, salt="b 3", since=300, share_since=400, interleaved=True
    )
    arms = {arm(plan(steps), f"user {n}", "r") for n in range(50)}
    assert arms == {"champion", "interleaved"}
    assert plan([*steps, row(5, "canary", "b", 0.2)]).canary == Canary(
        bundle="b", model="model b", share=0.2, salt="b 5", since=500, share_since=500
    )


@pytest.mark.parametrize(
    ("steps", "champion", "canary", "shadow"),
    [
        ([("promote", "a"), ("canary", "b", 0.1), ("promote", "b")], "b", None, None),
        ([("promote", "a"), ("canary", "b", 0.1), ("promote", "c")], "c", None, None),
        ([("promote", "a"), ("promote", "b"), ("shadow", "c"), ("rollback", "a")], "a", None, "c"),
        ([("promote", "a"), ("shadow", "b"), ("promote", "b")], "b", None, None),
        ([("promote", "a"), ("shadow", "b"), ("canary", "b", 0.1), ("end", "b")], "a", None, None),
        ([("promote", "a"), ("canary", "b", 0.1), ("end", "c")], "a", "b", None),
        ([("promote", "a"), ("canary", "a", 0.1), ("shadow", "a")], "a", None, None),
        ([("promote", "a"), ("canary", "b", 1.0), ("canary", "c", 0.0), ("canary", "d")], "a", None, None),
        ([("canary", "b", 0.1), ("shadow", "c")], None, None, None),
        ([("promote", "a"), ("rollback", "b")], "a", None, None),
    ],
)
def test_what_each_row_changes(
    steps: list[tuple[str, str]], champion: str | None, canary: str | None, shadow: str | None
):
    found = plan(rows(*steps))
    parts = (found.champion, found.canary, found.shadow)
    assert tuple(part and part.bundle for part in parts) == (champion, canary, shadow)


@given(st.lists(STEPS, max_size=12))
def test_any_rows_give_a_valid_plan(steps: list[tuple[str, str, float | None]]):
    history = [row(seq, *step) for seq, step in enumerate(steps, 1)]
    found = plan(history)
    promoted = {step.bundle for step in history if step.action == "promote"}
    assert (found.champion is None) == (not promoted)
    if found.champion:
        assert found.champion.bundle in promoted
        assert found.champion == changes(history)[-1]
    for part in (found.canary, found.shadow):
        assert part is None or (found.champion and part.bundle != found.champion.bundle)
    assert found.canary is None or 0 < found.canary.share < 1


def test_points_are_uniform_and_independent_between_salts():
    first, other = (np.array([point(salt, f"user {n}") for n in range(20_000)]) for salt in ("b 2", "b 3"))
    assert first.min() >= 0
    assert first.max() < 1
    assert stats.kstest(first, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(20_000)


def test_a_point_is_the_same_everywhere():
    assert point("b 2", "user 1") == point("b 2", "user 1")
    assert point("b 2", "user 1") != point("b 2", "user 2")


@given(st.text(), st.floats(0.01, 0.5), st.floats(0.5, 0.99))
def test_who_is_in_the_canary_stays_when_the_share_grows(user: str, small: float, large: float):
    before = plan(rows(("promote", "a"), ("canary", "b", small)))
    after = plan(rows(("promote", "a"), ("canary", "b", small), ("canary", "b", large)))
    assert arm(before, user, "r1") == arm(before, user, "r2")
    assert arm(before, user, "r1") == "champion" or arm(after, user, "r3") == "canary"


def test_requests_of_nobody_are_drawn_one_by_one():
    current = plan(rows(("promote", "a"), ("canary", "b", 0.25)))
    canaries = sum(arm(current, None, f"request-{number}") == "canary" for number in range(4_000))
    assert abs(canaries - 1_000) < 4 * np.sqrt(4_000 * 0.25 * 0.75)
    assert arm(plan(rows(("promote", "a"))), None, "request-1") == "champion"


def test_the_store_keeps_shares_and_knows_the_champion_beside_a_canary(store: Store):
    store.deploy("promote", "a", "ease", "First.")
    store.deploy("canary", "b", "als", "Try it.", share=0.125)
    store.deploy("shadow", "c", "mf", "Look.")
    champion, found = store.champion(), store.traffic()
    assert champion
    assert champion.bundle == "a"
    assert found.champion == champion
    assert found.canary
    assert (found.canary.bundle, found.canary.share, found.canary.since) == ("b", 0.125, 1_700_000_000_000_000)
    assert (found.canary.after_slate, found.canary.after_event) == (0, 0)
    slate = Slate(
        request_id="r", timestamp=1, bundle="a", policy="top_n", items=["i"], scores=[1.0], worker="w", serial=0
    )
    store.add_slates([slate])
    store.add_events([Event(event_id=name, user_id="u", item_id="i", event="click", timestamp=1) for name in "xy"])
    store.deploy("interleave", "b", "als", "More.", share=0.25)
    canary = store.traffic().canary
    assert canary
    assert (canary.after_slate, canary.after_event) == (store.last_slate_seq(), store.last_event_seq())
    assert canary.after_event > canary.after_slate > 0
    assert found.shadow
    assert [step.previous for step in store.deployments()] == [None, "a", "a", "a"]
