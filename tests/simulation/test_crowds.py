"""Who asks when, what they do with a slate, and what it is worth to them."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recloop.columns import ITEM, TIME, USER
from recloop.data.tables import Tables, canonical_interactions
from recloop.simulation.crowd import DAY
from recloop.simulation.replay import ReplayCrowd
from recloop.simulation.site import body
from recloop.simulation.tastes import TasteConfig, TasteCrowd
from recloop.sources import SourceContext
from recloop.store import Event

CONTEXT = SourceContext(root=Path(), data=Path(), cache=Path(), progress=lambda steps, _: steps)
SMALL = TasteConfig(users=40, items=60, history_days=4, days=4, shift=2, sessions=8, session_length=3, visits=1.5)


def tastes(**changes: object) -> TasteCrowd:
    return TasteCrowd(SMALL.model_copy(update=changes), CONTEXT)


class TestTastes:
    def test_the_past_ends_where_the_first_day_begins(self):
        crowd = tastes()
        moments = crowd.past().interactions[TIME].cast(pl.Int64)
        assert moments.min() >= crowd.begins(-4)
        assert moments.max() < crowd.begins(0)

    def test_people_are_equally_active_on_every_day(self):
        crowd = tastes(items=200)
        past = crowd.past().interactions
        acts = [act for day in range(4) for act in crowd.unasked(day, crowd.begins(day + 1))]
        assert past.height == pytest.approx(len(acts), rel=0.25)
        pairs = [(act.user_id, act.item_id) for act in acts] + past.select(USER, ITEM).rows()
        assert len(set(pairs)) == len(pairs)
        assert all(crowd.begins(0) <= act.timestamp < crowd.begins(4) for act in acts)
        assert [act.timestamp for act in acts] == sorted(act.timestamp for act in acts)

    def test_who_has_had_everything_takes_nothing(self):
        crowd = tastes()
        crowd.had[:] = True
        visit = crowd.visits(0)[0]
        assert crowd.unasked(0, crowd.begins(1)) == []
        answer = crowd.answer(visit, "r", crowd.world.item_ids[:10])
        assert (answer.reward, answer.best, answer.acts) == (0, 0, [])

    def test_visits_are_the_same_whatever_was_shown(self):
        one, other = tastes(), tastes()
        visit = one.visits(0)[0]
        one.answer(visit, "r", one.world.item_ids[:10])
        assert [one.visits(day) for day in range(4)] == [other.visits(day) for day in range(4)]
        days = [visit.moment for day in range(4) for visit in one.visits(day)]
        assert days == sorted(days)
        assert np.mean([len(one.visits(day)) for day in range(4)]) == pytest.approx(60, rel=0.3)

    def test_the_best_slate_is_worth_the_most_and_nothing_is_taken_twice(self):
        crowd = tastes()
        visit = crowd.visits(0)[0]
        appeal = crowd.appeal(int(visit.user_id[1:]), visit.moment)
        assert appeal.max() == pytest.approx(0.5)
        best = [crowd.world.item_ids[item] for item in np.argsort(-appeal)[:10]]
        answer = crowd.answer(visit, "request", best)
        assert answer.reward == pytest.approx(answer.best)
        taken = {act.item_id for act in answer.acts}
        assert {act.request_id for act in answer.acts} == {"request"}
        again = crowd.answer(visit, "request", sorted(taken))
        assert (again.reward, again.acts) == (0, [])
        assert tastes().answer(visit, "request", best[::-1]).reward < answer.reward

    def test_who_takes_from_a_slate_takes_as_much_less_otherwise(self):
        alone, shown = tastes(items=200), tastes(items=200)
        taken = [act for visit in shown.visits(0) for act in shown.answer(visit, "r", shown.world.item_ids[:10]).acts]
        assert taken
        alone_acts, shown_acts = (
            [act for day in range(4) for act in crowd.unasked(day, crowd.begins(day + 1))] for crowd in (alone, shown)
        )
        left = Counter(act.user_id for act in alone_acts)
        skipped = sum(min(left[user], count) for user, count in Counter(act.user_id for act in taken).items())
        assert len(alone_acts) - len(shown_acts) == skipped

    def test_rewards_are_the_expected_number_of_acts(self):
        crowd = tastes(visits=30.0)
        visits, taken, expected = crowd.visits(0), 0, 0.0
        for visit in visits:
            crowd.had[:] = False
            answer = crowd.answer(visit, "r", crowd.world.item_ids[:10])
            taken, expected = taken + len(answer.acts), expected + answer.reward
        assert taken == pytest.approx(expected, abs=4 * np.sqrt(expected))
        assert taken > 50

    def test_tastes_move_on_the_day_of_the_shift_and_not_before(self):
        crowd = tastes()
        before, after = (crowd.world.tastes([3], crowd.begins(day))[0] for day in (1, 2))
        assert np.allclose(before, crowd.world.tastes([3], crowd.begins(0))[0])
        assert not np.allclose(before, after)
        still = tastes(shift=None).world
        assert np.allclose(still.tastes([3], crowd.begins(3)), still.tastes([3], crowd.begins(0)))


def recorded(rows: int = 100) -> Tables:
    frame = pl.DataFrame(
        {
            USER: [f"u{number % 7}" for number in range(rows)],
            ITEM: [f"i{number % 11}" for number in range(rows)],
            TIME: [1_000_000_000 + number * 3600 for number in range(rows)],
        }
    )
    return Tables(interactions=canonical_interactions(frame, "record"))


class TestReplay:
    def test_each_event_is_asked_for_and_then_happens(self):
        crowd = ReplayCrowd(recorded(), share=0.3, day_days=0.5, history=True)
        assert crowd.past().interactions.height == 70
        visits = [visit for day in range(crowd.days) for visit in crowd.visits(day)]
        assert (len(visits), crowd.days) == (30, 3)
        for visit in visits:
            assert visit.history
            assert all(event["timestamp"] * 1e6 < visit.moment for event in visit.history)
            (act,) = crowd.answer(visit, "request", ["i1"]).acts
            assert (act.user_id, act.item_id) == (f"u{(70 + visit.number) % 7}", f"i{(70 + visit.number) % 11}")
            assert act.timestamp == visit.moment
        assert crowd.unasked(0, crowd.begins(1)) == []

    def test_rewards_are_the_ndcg_of_what_was_taken_next(self):
        tables = Tables(
            interactions=canonical_interactions(
                pl.DataFrame({USER: ["a"] * 5, ITEM: ["1", "2", "3", "1", "4"], TIME: [1, 2, 3, 4, 5]}), "record"
            )
        )
        crowd = ReplayCrowd(tables, share=0.6, day_days=1, history=False)
        first, second, third = crowd.visits(0)
        assert first.history is None
        answer = crowd.answer(first, "r", ["9", "3"])
        assert answer.reward == pytest.approx(1 / np.log2(3))
        assert answer.acts[0].request_id is None  # they would have done it anyway
        assert np.isnan(crowd.answer(second, "r", ["1"]).reward)
        missed = crowd.answer(third, "r", ["9"])
        assert (missed.reward, missed.acts[0].request_id) == (0, None)


def test_an_act_is_what_the_service_takes():
    act = Event(event_id="e", user_id="u", item_id="i", event="click", timestamp=3 * DAY)
    assert body(act) == {"event_id": "e", "user_id": "u", "item_id": "i", "event": "click", "timestamp": 259200.0}
