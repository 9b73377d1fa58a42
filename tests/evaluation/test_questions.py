import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.columns import EVENT_KEY, ITEM
from recloop.data.splits import examples
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import DataError
from recloop.evaluation.questions import ask
from tests.evaluation.conftest import DAY, interactions

Parts = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


def test_questions_in_the_indices_of_everything(parts: Parts) -> None:
    questions = ask(*parts, targets="successive")
    asked = questions.facts.examples
    assert questions.items.ids.to_list() == ["i1", "i2", "i3", "i4", "i5", "i6"]
    assert questions.users.ids.to_list() == ["ann", "bob", "carl"]
    assert asked.users.tolist() == [0, 0, 1, 2, 2, 2]
    assert questions.items.decode(asked.targets) == ["i4", "i5", "i2", "i1", "i3", "i6"]
    assert asked.stops.tolist() == [3, 5, 1, 0, 0, 2]
    assert (questions.times // (DAY * 1_000_000)).tolist() == [5, 7, 5, 5, 5, 8]
    assert questions.facts.trained.tolist() == [2, 1, 0]
    assert questions.facts.popularity.tolist() == [2, 1, 0, 0, 0, 0]
    assert (len(questions), questions.available) == (6, 6)


def test_questions_in_the_indices_of_a_catalogue(parts: Parts) -> None:
    catalogue = Vocabulary(["i0", "i2", "i3"])
    asked = ask(*parts, targets="successive").examples(catalogue)
    assert [asked.contexts(e, e + 1).items.tolist() for e in range(6)] == [[1, 2], [1, 2], [], [], [], [2]]
    assert asked.targets.tolist() == [UNKNOWN, UNKNOWN, 1, UNKNOWN, 2, UNKNOWN]
    assert asked.values.tolist() == [5, 7, 5, 5, 5, 8]


def test_popularity_of_a_catalogue_is_that_of_todays_training_events(parts: Parts) -> None:
    questions = ask(*parts, targets="successive")
    assert questions.popularity(Vocabulary(["i0", "i1", "i2", "i6"])).tolist() == [0, 2, 1, 0]


def test_what_is_dropped_as_seen_does_not_depend_on_the_catalogue() -> None:
    # The target i9 was seen before. A catalogue without i9 could not know that.
    train = interactions([("ann", "i9", 1), ("ann", "i1", 2)])
    test = interactions([("ann", "i9", 5), ("ann", "i2", 6)])
    questions = ask(train, train.clear(), test, targets="successive")
    for ids in (["i1", "i2"], ["i1", "i2", "i9"]):
        catalogue = Vocabulary(ids)
        assert catalogue.decode(questions.examples(catalogue).targets) == ["i2"]


@pytest.mark.parametrize("targets", ["successive", "last", "all"])
def test_all_that_can_be_asked_is_asked(parts: Parts, targets: str) -> None:
    questions = ask(*parts, targets=targets, mask_seen=False)
    direct, _, account = examples(pl.concat(parts[:2]), parts[2], questions.items, mode=targets, mask_seen=False)
    assert questions.facts.examples.targets.tolist() == direct.targets.tolist()
    assert questions.times.tolist() == account.times.tolist()


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["u1", "u2", "u3"]), st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 9)),
        min_size=1,
        max_size=40,
    ),
    known=st.sets(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1),
    targets=st.sampled_from(["successive", "last", "all"]),
)
def test_a_catalogue_sees_what_it_would_have_been_asked(
    rows: list[tuple[str, str, int]], known: set[str], targets: str
) -> None:
    train, test = (interactions(row for row in rows if later == (row[2] > 5)) for later in (False, True))
    if not test.height:
        return
    catalogue = Vocabulary(sorted(known))
    asked = ask(train, train.clear(), test, targets=targets, mask_seen=False).examples(catalogue)
    direct, _, _ = examples(train, test, catalogue, mode=targets, mask_seen=False)
    for name in ("users", "stops", "targets", "values"):
        assert getattr(asked, name).tolist() == getattr(direct, name).tolist()
    if targets != "all":  # repeated items of a set differ where the catalogue knows neither
        assert asked.offsets.tolist() == direct.offsets.tolist()
    contexts, expected = (one.contexts(0, len(one)) for one in (asked, direct))
    assert contexts.items.tolist() == expected.items.tolist()
    assert contexts.timestamps.tolist() == expected.timestamps.tolist()


def test_nothing_to_ask_is_refused() -> None:
    train = interactions([("ann", "i1", 1)])
    test = interactions([("ann", "i1", 5)])
    with pytest.raises(DataError) as caught:
        ask(train, train.clear(), test, targets="successive")
    assert str(caught.value) == (
        "The test part of the split leaves no question, as every target was seen before; give newer data, a larger "
        "test_fraction, or set evaluate.mask_seen to false."
    )


def test_a_sample_asks_about_whole_users(many: Parts) -> None:
    whole = ask(*many, targets="successive")
    sample = ask(*many, targets="successive", max_examples=30, seed=1)
    assert 20 < len(sample) <= 30
    assert sample.available == len(whole)
    users, counts = np.unique(whole.facts.examples.users, return_counts=True)
    drawn, drawn_counts = np.unique(sample.facts.examples.users, return_counts=True)
    assert drawn_counts.tolist() == counts[np.isin(users, drawn)].tolist()
    assert sample.fingerprint() == ask(*many, targets="successive", max_examples=30, seed=1).fingerprint()
    assert sample.fingerprint() != ask(*many, targets="successive", max_examples=30, seed=2).fingerprint()


def test_a_sample_holds_at_least_one_user(many: Parts) -> None:
    sample = ask(*many, targets="successive", max_examples=1)
    assert len(np.unique(sample.facts.examples.users)) == 1


def test_a_large_enough_limit_changes_nothing(many: Parts) -> None:
    whole = ask(*many, targets="successive")
    assert ask(*many, targets="successive", max_examples=len(whole)).fingerprint() == whole.fingerprint()


def test_the_fingerprint_tells_questions_apart(parts: Parts) -> None:
    train, valid, test = parts
    prints = {
        ask(train, valid, test, targets="successive").fingerprint(),
        ask(train, valid, test, targets="successive", mask_seen=False).fingerprint(),
        ask(train, valid, test, targets="last").fingerprint(),
        ask(train, valid, test.with_columns(pl.col(ITEM).str.replace("i6", "i7")), targets="successive").fingerprint(),
        ask(train.clear(), valid, test, targets="successive").fingerprint(),
        ask(train.with_columns(pl.Series(ITEM, ["i2", "i1", "i1"])), valid, test, targets="successive").fingerprint(),
    }
    assert len(prints) == 6
    assert ask(train, valid, test, targets="successive").fingerprint() in prints


class TestPrompted:
    """What followed from slates is context, and is not asked for."""

    TRAIN = interactions([("a", "x", 1), ("b", "x", 2), ("c", "x", 3)])
    TEST = interactions([("a", "y", 10), ("a", "z", 11), ("b", "y", 12), ("c", "w", 13)])

    def asked(self, *prompted: tuple[str, str, int], must: bool = False) -> list[tuple[str, str, list[str]]]:
        """User, target and context of each question."""
        shown = interactions(list(prompted)).select(EVENT_KEY) if prompted else None
        parts = self.TRAIN, self.TRAIN.clear(), self.TEST
        questions = ask(*parts, targets="successive", prompted=shown, must_leave_out=must)
        examples, items = questions.facts.examples, questions.items
        assert questions.left_out == self.TEST.height - len(examples)
        return [
            (questions.users.ids[int(user)], items.ids[int(target)], items.decode(examples.contexts(n, n + 1).items))
            for n, (user, target) in enumerate(zip(examples.users, examples.targets, strict=True))
        ]

    def test_it_stays_in_the_context_of_later_questions(self):
        assert self.asked(("a", "y", 10)) == [
            ("a", "z", ["x", "y"]),
            ("b", "y", ["x"]),
            ("c", "w", ["x"]),
        ]

    def test_without_it_all_is_asked(self):
        assert len(self.asked()) == 4

    def test_where_too_few_people_would_be_left_all_is_asked(self):
        most = [("a", "y", 10), ("a", "z", 11), ("b", "y", 12)]
        assert len(self.asked(*most)) == 4
        assert self.asked(*most, must=True) == [("c", "w", ["x"])]

    def test_with_nothing_left_the_remedy_is_named(self):
        every = [("a", "y", 10), ("a", "z", 11), ("b", "y", 12), ("c", "w", 13)]
        with pytest.raises(DataError, match=r"or evaluate\.prompted to ask"):
            self.asked(*every, must=True)
