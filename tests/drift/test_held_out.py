"""What the champion is asked about events that it has not learned from."""

from datetime import UTC, datetime, timedelta
from math import log2

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.drift.config import DriftConfig
from recloop.drift.held_out import Foretold, HeldOut, foretell
from recloop.models import find
from recloop.models.base import FitContext, Model, TrainingData
from tests.drift.conftest import events, people

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return EPOCH + timedelta(days=number)


def popularity(train: pl.DataFrame) -> tuple[Model, Vocabulary]:
    items = Vocabulary(train["item_id"])
    kind = find("popularity")
    model = kind(kind.Config(), len(items))
    model.fit(TrainingData.from_tables(train, items, Attributes()), FitContext(device=torch.device("cpu")))
    return model, items


TRAIN = [
    *((f"t{user}", "a", 1.0, "view", 1.0) for user in range(3)),
    *((f"t{user}", "b", 2.0, "view", 1.0) for user in range(2)),
    ("t0", "c", 10.0, "view", 1.0),
]
"""Popularity: a before b before c."""
LATER = [
    ("x", "b", 11.0, "view", 1.0),
    ("x", "a", 13.0, "view", 1.0),
    ("y", "c", 13.5, "view", 1.0),
    ("x", "c", 16.5, "view", 1.0),
    ("z", "new", 17.0, "view", 1.0),
    ("y", "c", 18.0, "view", 1.0),
    ("z", "a", 18.0, "view", 1.0),
]
"""Halves: from after day 10 to day 14, and from after day 14 to day 18."""


def ask(rows: list[tuple[str, str, float, str, float]] = LATER, **known: object) -> Foretold | None:
    held_out = HeldOut(interactions=events([*TRAIN, *rows]), learned_until=day(10), **known)  # type: ignore[arg-type]
    return foretell(held_out, *popularity(events(TRAIN)), DriftConfig())


def by_user(frame: pl.DataFrame) -> dict[str, tuple[float, int]]:
    return {user: (score, questions) for user, score, questions in frame.iter_rows()}


def test_next_items_are_asked_for_as_evaluation_does() -> None:
    found = ask()
    assert found is not None
    second, third = 1 / log2(3), 1 / log2(4)
    x, y = by_user(found.before)["x"], by_user(found.before)["y"]
    assert x == (pytest.approx((second + 1) / 2), 2), "b stands second; without it a stands first"
    assert y == (pytest.approx(third), 1)
    assert by_user(found.lately) == {
        "x": (1.0, 1),
        "z": (pytest.approx(0.5), 2),
    }, "x has c left alone, y has had c, and of z's items the new one is a miss"
    assert found.baseline.equals(found.lately)


def test_the_windows_have_equal_lengths() -> None:
    held_out = HeldOut(interactions=events([*TRAIN, *LATER]), learned_until=day(10))
    found = foretell(held_out, *popularity(events(TRAIN)), DriftConfig(window_days=1.25))
    assert found is not None
    assert by_user(found.before) == {"x": (pytest.approx(1 / log2(3)), 1)}
    assert set(by_user(found.lately)) == {"z"}


def test_what_followed_from_slates_is_context_and_not_asked_for() -> None:
    prompted = (
        events(LATER)
        .filter(pl.col("user_id") == "x", pl.col("item_id") == "b")
        .select("user_id", "item_id", "timestamp", "event")
    )
    found = ask(prompted=prompted)
    assert found is not None
    assert by_user(found.before)["x"] == (1.0, 1)
    assert ask(prompted=events(LATER)) is None


def test_where_slates_were_shown_lately_both_windows_lie_in_the_champions_time() -> None:
    last = events(LATER).filter(pl.col("user_id") == "z", pl.col("item_id") == "a")
    found = ask(prompted=last, known_until=day(12.5))
    assert found is not None
    assert set(by_user(found.before)) == {"x", "y"}, "from after day 12.5 to day 15.25"
    assert by_user(found.before)["x"][1] == 1
    early = events(LATER).filter(pl.col("item_id") == "b")
    found = ask(prompted=early, known_until=day(12.5))
    assert found is not None
    assert by_user(found.before)["y"][1] == 1
    assert by_user(found.before)["x"] == (1.0, 1), "from after day 10, without what followed from the slate"


@pytest.mark.parametrize("rows", [[], LATER[:3], LATER[4:5]], ids=["nothing new", "nothing lately", "one event"])
def test_nothing_to_ask(rows: list[tuple[str, str, float, str, float]]) -> None:
    late = [("y", "c", 18.0, "view", 1.0)] if len(rows) == 3 else []
    assert ask([*rows, *late]) is None


def test_people_take_turns_in_one_order_for_both_windows() -> None:
    train = events(people(50, (0, 10)))
    later = [*people(50, (11, 20), per_user=3, seed=1), *people(50, (20, 29), per_user=3, seed=2)]
    held_out = HeldOut(interactions=pl.concat([train, events(later)]), learned_until=train["timestamp"].max())  # type: ignore[arg-type]
    model = popularity(train)

    def drawn(contexts: int, seed: int = 1) -> Foretold:
        found = foretell(held_out, *model, DriftConfig(contexts=contexts, seed=seed))
        assert found is not None
        return found

    everything, most, few = drawn(1000), drawn(60), drawn(20)
    for of in ("before", "lately"):
        everybody, some, fewer = (getattr(found, of) for found in (everything, most, few))
        assert everybody["questions"].max() > 2
        assert everybody["questions"].sum() > 60
        assert everybody["user_id"].equals(some["user_id"]), "each once before anybody is asked about twice"
        assert some["questions"].sum() == 60
        assert some["questions"].max() == 2
        assert fewer["questions"].to_list() == [1] * 20
    assert len({*few.before["user_id"]} & {*few.lately["user_id"]}) >= 18
    assert few.before.equals(drawn(20).before)
    assert not few.before.equals(drawn(20, seed=2).before)


def test_a_persons_questions_are_drawn_without_favour() -> None:
    """The mean over many draws of one question a person is the mean of all their questions."""
    train = events(people(20, (0, 10)))
    later = [*people(20, (11, 20), per_user=6, seed=1), *people(20, (20, 29), per_user=6, seed=2)]
    held_out = HeldOut(interactions=pl.concat([train, events(later)]), learned_until=train["timestamp"].max())  # type: ignore[arg-type]
    model = popularity(train)
    all_of_them = foretell(held_out, *model, DriftConfig(metric="mrr"))
    draws = [foretell(held_out, *model, DriftConfig(metric="mrr", contexts=20, seed=seed)) for seed in range(300)]
    assert all_of_them is not None
    means = np.array([found.lately["score"].mean() for found in draws if found])
    assert len(means) == 300
    assert means.mean() == pytest.approx(all_of_them.lately["score"].mean(), abs=4 * means.std() / np.sqrt(300))
