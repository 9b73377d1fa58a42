"""Each check finds what it is for, and only that."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.drift import (
    catalogue_churn,
    event_types,
    history_embeddings,
    item_popularity,
    model_scores,
    new_users,
    popularity_baseline,
    ranking_quality,
    slates,
    unknown_items,
    unknown_users,
    user_activity,
    values,
    volume,
)
from recloop.drift.comparison import LARGEST, Comparison, Numbers, Shares
from recloop.drift.held_out import HeldOut
from recloop.drift.inputs import Inputs
from recloop.models import find
from recloop.models.base import FitContext, Model, TrainingData
from tests.drift.conftest import Row, events, people

Make = Callable[..., Inputs]


def drifted(found: Comparison | None) -> bool:
    assert found is not None
    return found.value > found.threshold(0.001)


def shares(found: Comparison | None) -> Shares:
    assert found is not None
    assert isinstance(found.shown, Shares)
    return found.shown


def test_event_types(inputs: Make):
    reference = people(40, (0, 10))
    clicks = [(user, item, day, "click", value) for user, item, day, _, value in people(60, (10, 20), seed=1)]
    found = event_types.measure(inputs(events(reference), events(clicks[:120] + people(30, (10, 20)))))
    assert shares(found).labels == ["click", "view"]
    np.testing.assert_allclose(shares(found).reference, [0, 1])
    np.testing.assert_allclose(shares(found).current, [0.5, 0.5])
    assert drifted(found)


def test_one_event_type_cannot_drift(inputs: Make):
    assert event_types.measure(inputs(events(people(40, (0, 10))), events(people(40, (11, 20))))) is None


def test_values(inputs: Make):
    def rated(rows: list, offset: float) -> pl.DataFrame:
        return events([(*row[:4], offset + index % 3) for index, row in enumerate(rows)])

    reference, lower = people(60, (0, 10)), people(60, (11, 20), seed=1)
    found = values.measure(inputs(rated(reference, 3), rated(lower, 1)))
    assert shares(found).labels == ["1", "2", "3", "4", "5"]
    np.testing.assert_allclose(shares(found).current, [1 / 3, 1 / 3, 1 / 3, 0, 0])
    assert drifted(found)
    assert not drifted(values.measure(inputs(rated(reference, 3), rated(lower, 3))))


def test_values_that_are_all_the_same_cannot_drift(inputs: Make):
    assert values.measure(inputs(events(people(40, (0, 10))), events(people(40, (11, 20))))) is None


def test_values_may_be_missing(inputs: Make):
    without = [(*row[:4], None) for row in people(40, (0, 10))]
    assert values.measure(inputs(events(without), events(without))) is None


def test_item_popularity(inputs: Make):
    reference, current = people(100, (0, 10)), people(100, (11, 20), seed=1)
    focused = [(user, "i3" if index % 2 else item, *rest) for index, (user, item, *rest) in enumerate(current)]
    found = item_popularity.measure(inputs(events(reference), events(focused)))
    assert shares(found).labels[0] == "i3"
    assert shares(found).current[0] == pytest.approx(0.5, abs=0.05)
    assert drifted(found)
    assert not drifted(item_popularity.measure(inputs(events(reference), events(current))))


def test_item_popularity_of_late(inputs: Make):
    """What people took long ago is no drift once the newest days of the reference alone are looked at."""
    past = people(100, (0, 10))
    long_ago = [(user, "i3" if index % 2 else item, *rest) for index, (user, item, *rest) in enumerate(past)]
    reference, current = long_ago + people(100, (10, 20)), people(100, (21, 30), seed=1)
    assert drifted(item_popularity.measure(inputs(events(reference), events(current))))
    late = item_popularity.measure(inputs(events(reference), events(current), popularity_days=10))
    assert late
    assert late.n_reference == 400
    assert not drifted(late)


def test_item_popularity_looks_at_established_items_only(inputs: Make):
    reference = people(100, (0, 10))
    late = [(f"u{user}", "late", 9.0, "view", 1.0) for user in range(100)]
    new = [(f"u{user}", "new", 15.0, "view", 1.0) for user in range(100)]
    found = item_popularity.measure(inputs(events(reference + late), events(people(100, (11, 20), seed=1) + new)))
    assert found
    assert (found.n_reference, found.n_current) == (400, 400)
    assert not drifted(found)


def test_rare_items_share_bins(inputs: Make):
    reference = [(f"u{row % 50}", f"i{row:03}", row / 30, "view", 1.0) for row in range(300)]
    current = [(f"u{row % 50}", f"i{row:03}", 11 + row / 30, "view", 1.0) for row in range(150)]
    found = item_popularity.measure(inputs(events(reference), events(current)))
    assert shares(found).labels == [f"others {number}" for number in range(1, 17)]


def test_items_that_nobody_knows_any_more(inputs: Make):
    other = [(user, f"new-{item}", *rest) for user, item, *rest in people(100, (11, 20))]
    assert item_popularity.measure(inputs(events(people(100, (0, 10))), events(other))) is None


def test_unknown_items(inputs: Make):
    reference, current = people(100, (0, 10)), people(100, (11, 20), seed=1)
    new = [(user, f"new-{item}", *rest) for user, item, *rest in current[::3]]
    renewed = current[1::3] + current[2::3] + new
    found = unknown_items.measure(inputs(events(reference), events(renewed)))
    np.testing.assert_allclose(shares(found).current, [2 / 3, 1 / 3], atol=0.01)
    np.testing.assert_allclose(shares(found).reference, [1, 0])
    assert drifted(found)


def test_fewer_unknown_items_than_usual_are_no_drift(inputs: Make):
    reference = people(100, (0, 5)) + [(f"u{user}", f"new{user}", 9.0, "view", 1.0) for user in range(100)]
    found = unknown_items.measure(inputs(events(reference), events(people(100, (11, 15)))))
    assert found
    assert found.value > 0.5
    assert found.threshold(0.001) == LARGEST


def test_unknown_users(inputs: Make):
    known = people(100, (0, 10))
    same, others = people(100, (11, 20)), people(100, (11, 20), prefix="new")
    found = unknown_users.measure(inputs(events(known), events(others)))
    np.testing.assert_allclose(shares(found).current, [0, 1])
    assert drifted(found)
    usual = unknown_users.measure(inputs(events(known), events(same)))
    assert usual is None or not drifted(usual)


def test_user_activity(inputs: Make):
    reference, busier = people(100, (0, 10)), people(100, (11, 20), per_user=16, seed=1)
    found = user_activity.measure(inputs(events(reference), events(busier)))
    assert shares(found).labels == ["1", "2 to 3", "4 to 7", "8 to 15", "16 to 31"]
    assert shares(found).current[4] == 1
    assert drifted(found)


def test_a_longer_window_does_not_make_people_look_busier(inputs: Make):
    rng = np.random.default_rng(0)
    rows = [(f"u{rng.integers(150)}", "i1", day, "view", 1.0) for day in rng.uniform(0, 60, 4500)]
    reference, current = ([row for row in rows if (row[2] >= 48) == later] for later in (False, True))
    found = user_activity.measure(inputs(events(reference), events(current)))
    assert found
    assert found.n_reference > 400
    assert not drifted(found)


def test_volume(inputs: Make):
    reference = events([row for day in range(20) for row in people(30, (day, day + 1), per_user=1, seed=day)])
    busy = events([row for day in range(20, 30) for row in people(180, (day, day + 1), per_user=1, seed=day)])
    found = volume.measure(inputs(reference, busy))
    assert found
    assert (found.statistic, found.column) == ("log_ratio", "events_per_day")
    assert found.value == pytest.approx(np.log(6), abs=0.05)
    assert isinstance(found.shown, Numbers)
    assert len(found.shown.current) == found.n_current == 9
    assert drifted(found)
    assert not drifted(volume.measure(inputs(reference, busy, volume_factor=10)))


def test_volume_needs_a_week(inputs: Make):
    assert volume.measure(inputs(events(people(40, (0, 10))), events(people(40, (11, 16))))) is None


@pytest.mark.parametrize("check", [catalogue_churn, new_users, unknown_users, user_activity, volume])
def test_windows_of_one_time_say_nothing_about_time(inputs: Make, check: object):
    halves = events(people(40, (0, 20))), events(people(40, (0, 20), seed=1, prefix="v"))
    assert check.measure(inputs(*halves)) is None  # type: ignore[attr-defined]


def taken(items: str, start: float, length: float, users: int = 50) -> list[Row]:
    """People who all take each of `items`, one letter an item, evenly over some days."""
    count = len(items) * users
    return [
        (f"u{index % users}", items[index // users], start + length * index / (count - 1), "view", 1.0)
        for index in range(count)
    ]


def in_slices(before: str, newest: str, current: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What was taken in the last two slices of the reference, of 0.9 days each, and afterwards."""
    long_ago = taken(before, -3, 0.2)
    return events(long_ago + taken(before, 0.3, 0.2) + taken(newest, 1.3, 0.2)), events(taken(current, 2, 0.9))


def test_catalogue_churn(inputs: Make):
    found = catalogue_churn.measure(inputs(*in_slices("abf", "abcde", "cdeyz")))
    assert shares(found).labels == ["still taken", "taken no more"]
    np.testing.assert_allclose(shares(found).reference, [2 / 3, 1 / 3], err_msg="f is gone")
    np.testing.assert_allclose(shares(found).current, [3 / 5, 2 / 5], err_msg="a and b are gone; y and z do not count")
    assert found
    assert (found.n_reference, found.n_current) == (150, 250)


def test_items_that_leave_are_drift(inputs: Make):
    gone = catalogue_churn.measure(inputs(*in_slices("abcdef", "abcdef", "abcdxy")))
    np.testing.assert_allclose(shares(gone).current, [4 / 6, 2 / 6])
    assert drifted(gone)


def test_items_that_only_come_and_items_that_always_come_and_go_are_none(inputs: Make):
    assert catalogue_churn.measure(inputs(*in_slices("ab", "ab", "abxyz"))) is None, "nothing leaves"
    usual = catalogue_churn.measure(inputs(*in_slices("ab", "ac", "ad")))
    np.testing.assert_allclose(shares(usual).reference, [1 / 2, 1 / 2])
    np.testing.assert_allclose(shares(usual).current, [1 / 2, 1 / 2])
    assert not drifted(usual)
    fewer = catalogue_churn.measure(inputs(*in_slices("abcd", "ab", "ab")))
    assert shares(fewer).reference[1] > 0
    assert not drifted(fewer)


def test_rare_items_come_and_go_and_that_is_no_churn(inputs: Make):
    """100 items are taken about once a slice, 10 about ninety times; lately there are only a third as many events."""
    rng = np.random.default_rng(0)

    def chosen(start: float, count: int) -> list[Row]:
        items = np.where(rng.random(count) < 0.09, rng.integers(100, size=count), rng.integers(100, 110, size=count))
        days = np.sort(rng.uniform(start, start + 5, count))
        return [(f"u{rng.integers(100)}", f"i{item}", day, "view", 1.0) for item, day in zip(items, days, strict=True)]

    reference = events(chosen(-5, 1000) + chosen(0, 1000))
    assert catalogue_churn.measure(inputs(reference, events(chosen(5, 330)))) is None
    fewer = [row for row in chosen(5, 400) if row[1] not in {"i100", "i101", "i102"}]
    found = catalogue_churn.measure(inputs(reference, events(fewer)))
    assert shares(found).reference[1] == 0
    assert shares(found).current[1] == pytest.approx(0.3, abs=0.05)
    assert drifted(found)


@pytest.mark.parametrize("check", [catalogue_churn, new_users])
def test_a_short_reference_does_not_say_what_is_usual(inputs: Make, check: object):
    reference, current = events(people(60, (0, 10))), events(people(60, (11, 17), seed=1, prefix="v"))
    assert check.measure(inputs(reference, current)) is None  # type: ignore[attr-defined]
    longer = events(people(60, (-10, 10)) + [(f"u{user}", "rare", 9.0, "view", 1.0) for user in range(60)])
    assert check.measure(inputs(longer, current)) is not None  # type: ignore[attr-defined]


def test_new_users_counts_people_and_unknown_users_their_events(inputs: Make):
    reference = people(100, (0, 20))
    known = people(100, (21, 30), seed=1)
    passing = people(100, (21, 30), per_user=1, seed=2, prefix="new")
    found = new_users.measure(inputs(events(reference), events(known + passing)))
    assert shares(found).labels == ["known", "unknown"]
    np.testing.assert_allclose(shares(found).current, [1 / 2, 1 / 2])
    assert found
    assert found.n_current == 200
    assert drifted(found)
    busy = people(25, (21, 30), per_user=40, seed=2, prefix="new")
    few = [check.measure(inputs(events(reference), events(known + busy))) for check in (new_users, unknown_users)]
    assert not drifted(few[0])
    np.testing.assert_allclose(shares(few[0]).current, [100 / 125, 25 / 125])
    np.testing.assert_allclose(shares(few[1]).current, [400 / 1400, 1000 / 1400])
    assert drifted(few[1])


def test_fewer_new_people_than_usual_are_no_drift(inputs: Make):
    reference = people(50, (0, 5)) + people(100, (15, 20), prefix="v")
    found = new_users.measure(inputs(events(reference), events(people(100, (21, 26), prefix="v", seed=1))))
    assert found
    assert found.value > 0.5
    assert found.threshold(0.001) == LARGEST


def fitted(name: str, train: pl.DataFrame, **config: object) -> tuple[Model, Vocabulary]:
    items = Vocabulary(train["item_id"])
    kind = find(name)
    model = kind(kind.Config(**config), len(items))
    histories = Contexts.from_frame(train, Vocabulary(train["user_id"]), items)
    model.fit(TrainingData(histories=histories, n_items=len(items)), FitContext(device=torch.device("cpu")))
    return model, items


def popularity(train: pl.DataFrame) -> tuple[Model, Vocabulary]:
    return fitted("popularity", train)


def skewed(rows: list) -> list:
    """Most choose the first items."""
    return [(user, f"i{int(item[1:]) ** 2 // 20}", *rest) for user, item, *rest in rows]


def test_model_scores(inputs: Make):
    reference = events(skewed(people(200, (0, 10))))
    model = popularity(reference)
    alike = events(skewed(people(200, (11, 20), seed=1)))
    assert not drifted(model_scores.measure(inputs(reference, alike, model)))
    worn = [(f"u{user}", f"i{item}", 11 + user / 100, "view", 1.0) for user in range(200) for item in range(8)]
    found = model_scores.measure(inputs(reference, events(worn), model, top_k=3))
    assert found
    assert found.column == "score"
    assert drifted(found)


def test_no_more_contexts_are_scored_than_asked_for(inputs: Make):
    reference, current = events(skewed(people(90, (0, 10)))), events(skewed(people(70, (11, 20), seed=1)))
    found = [model_scores.measure(inputs(reference, current, popularity(reference), contexts=40)) for _ in range(2)]
    assert found[0]
    assert found[1]
    assert (found[0].n_reference, found[0].n_current) == (40, 40)
    assert found[0].value == found[1].value


@pytest.mark.parametrize("check", [model_scores, slates, history_embeddings, ranking_quality, popularity_baseline])
def test_without_a_model_there_are_no_answers(inputs: Make, check: object):
    parts = events(people(40, (0, 10))), events(people(40, (11, 20)))
    assert check.measure(inputs(*parts)) is None  # type: ignore[attr-defined]
    held_out = HeldOut(interactions=pl.concat(parts), learned_until=parts[0]["timestamp"].max())  # type: ignore[arg-type]
    assert check.measure(replace(inputs(*parts), held_out=held_out)) is None  # type: ignore[attr-defined]


def groups(days: tuple[float, float], first: float, seed: int) -> pl.DataFrame:
    """200 people who take 4 of 8 items, either all of the first eight or, all others, of the second."""
    rng = np.random.default_rng(seed)
    return events(
        [
            (f"u{user}", f"i{(0 if user < 200 * first else 8) + item:02}", rng.uniform(*days), "view", 1.0)
            for user in range(200)
            for item in rng.permutation(8)[:4]
        ]
    )


@pytest.mark.parametrize("check", [slates, history_embeddings])
def test_another_mix_of_people_is_seen_in_slates_and_vectors(inputs: Make, check: object):
    reference, alike, other = groups((0, 10), 0.5, 0), groups((11, 20), 0.5, 1), groups((11, 20), 0.9, 2)
    model = fitted("als", reference, factors=4)
    assert not drifted(check.measure(inputs(reference, alike, model, top_k=2)))  # type: ignore[attr-defined]
    assert drifted(check.measure(inputs(reference, other, model, top_k=2)))  # type: ignore[attr-defined]


def test_slates_hold_unseen_items_by_their_ids(inputs: Make):
    reference, current = groups((0, 10), 0.5, 0), groups((11, 20), 1.0, 1)
    found = slates.measure(inputs(reference, current, fitted("als", reference, factors=4), top_k=4))
    named = dict(
        zip(shares(found).labels, zip(shares(found).reference, shares(found).current, strict=True), strict=True)
    )
    first = [f"i{item:02}" for item in range(8)]
    np.testing.assert_allclose(np.sum([named[item] for item in first], axis=0), [0.5, 1])
    assert found
    assert (found.n_reference, found.n_current) == (800, 800)


def test_places_that_nothing_is_left_for_are_left_out(inputs: Make):
    rows = [(f"u{user}", f"i{item}", user / 100, "view", 1.0) for user in range(60) for item in range(3)]
    later = events([(user, item, day + 2, *rest) for user, item, day, *rest in rows])
    two_left = events([*rows, ("u0", "i3", 0.0, "view", 1.0), ("u0", "i4", 0.0, "view", 1.0)])
    looked = inputs(two_left, later, popularity(two_left), top_k=3)
    assert looked.answers
    assert np.unique(looked.answers.items).tolist() == [-1, 3, 4]
    found = slates.measure(looked)
    assert found
    assert (found.n_reference, found.n_current) == (59 * 2, 60 * 2)
    assert model_scores.measure(looked) is None
    nothing_left = events(rows)
    assert slates.measure(inputs(nothing_left, later, popularity(nothing_left), top_k=3)) is None


def test_vectors_are_compared_along_the_directions_in_which_the_reference_differs() -> None:
    vectors = np.array([[3, 1, 7], [-3, 1, 7], [3, -1, 7], [-3, -1, 7], [9, 5, 0]], dtype=np.float64)
    reference = np.array([True, True, True, True, False])
    places = history_embeddings._along(vectors, reference)
    assert places.shape == (5, 2), "the reference does not differ along the third axis"
    np.testing.assert_allclose(np.abs(places), [[3, 1], [3, 1], [3, 1], [3, 1], [9, 5]])
    assert history_embeddings._along(vectors[[0, 0, 4]], np.array([True, True, False])).shape == (3, 0)


def test_vectors_need_a_model_that_has_them_and_people_who_differ(inputs: Make):
    reference, current = groups((0, 10), 0.5, 0), groups((11, 20), 0.5, 1)
    for name in ("popularity", "ease"):
        assert history_embeddings.measure(inputs(reference, current, fitted(name, reference))) is None
    found = history_embeddings.measure(inputs(reference, current, fitted("als", reference, factors=2)))
    assert found
    assert {label.partition(":")[0] for label in shares(found).labels} == {"direction 1", "direction 2"}
    assert (found.n_reference, found.n_current) == (400, 400), "once for each direction"
    alone = events([("u" + str(user), "i1", user / 10, "view", 1.0) for user in range(60)])
    same = events([("u" + str(user), "i1", 7 + user / 10, "view", 1.0) for user in range(60)])
    assert history_embeddings.measure(inputs(alone, same, fitted("als", alone, factors=2))) is None, "all are alike"


def test_vectors_that_are_no_numbers_are_left_out(inputs: Make):
    reference, current = groups((0, 10), 0.5, 0), groups((11, 20), 0.5, 1)
    model, items = fitted("als", reference, factors=2)
    looked = inputs(reference, current, (model, items))
    answers = looked.answers
    assert answers
    assert answers.vectors is not None
    answers.vectors[(answers.blocks["window"] == 0).to_numpy()] = np.nan
    assert history_embeddings.measure(looked) is None


def test_the_model_is_asked_once_for_all_checks(inputs: Make, monkeypatch: pytest.MonkeyPatch):
    reference, current = groups((0, 10), 0.5, 0), groups((11, 20), 0.5, 1)
    model, items = fitted("als", reference, factors=2)
    asked: list[int] = []
    own = model.user_vectors
    monkeypatch.setattr(model, "user_vectors", lambda contexts: asked.append(len(contexts)) or own(contexts))
    looked = inputs(reference, current, (model, items))
    for check in (model_scores, slates, history_embeddings):
        assert check.measure(looked)
    assert sum(asked) == 400
