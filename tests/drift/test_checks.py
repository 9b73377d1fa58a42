"""Each check finds what it is for, and only that."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.drift import (
    event_types,
    item_popularity,
    model_scores,
    unknown_items,
    unknown_users,
    user_activity,
    values,
    volume,
)
from recloop.drift.comparison import LARGEST, Comparison, Daily, Shares
from recloop.drift.inputs import Inputs
from recloop.models import find
from recloop.models.base import FitContext, Model, TrainingData
from tests.drift.conftest import events, people

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
    assert isinstance(found.shown, Daily)
    assert len(found.shown.current) == found.n_current == 9
    assert drifted(found)
    assert not drifted(volume.measure(inputs(reference, busy, volume_factor=10)))


def test_volume_needs_a_week(inputs: Make):
    assert volume.measure(inputs(events(people(40, (0, 10))), events(people(40, (11, 16))))) is None


@pytest.mark.parametrize("check", [unknown_users, user_activity, volume])
def test_windows_of_one_time_say_nothing_about_time(inputs: Make, check: object):
    halves = events(people(40, (0, 20))), events(people(40, (0, 20), seed=1, prefix="v"))
    assert check.measure(inputs(*halves)) is None  # type: ignore[attr-defined]


def popularity(train: pl.DataFrame) -> tuple[Model, Vocabulary]:
    items = Vocabulary(train["item_id"])
    kind = find("popularity")
    model = kind(kind.Config(), len(items))
    histories = Contexts.from_frame(train, Vocabulary(train["user_id"]), items)
    model.fit(TrainingData(histories=histories, n_items=len(items)), FitContext(device=torch.device("cpu")))
    return model, items


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


def test_without_a_model_there_are_no_scores(inputs: Make):
    assert model_scores.measure(inputs(events(people(40, (0, 10))), events(people(40, (11, 20))))) is None
