"""Contexts and examples; every axis has its own size."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.data.features import Features
from recloop.data.sequences import Contexts, Examples
from recloop.data.tables import canonical_interactions
from recloop.data.vocabulary import UNKNOWN, Vocabulary

histories = st.lists(st.lists(st.integers(0, 4), max_size=5), min_size=1, max_size=6)


@pytest.fixture
def contexts() -> Contexts:
    return Contexts.from_lists([[3, 1, 3], [], [0, 2]])


def lists(contexts: Contexts) -> list[list[int]]:
    return [part.tolist() for part in np.split(contexts.items, contexts.offsets[1:-1])]


def test_plain_lists_become_compressed_rows(contexts: Contexts) -> None:
    assert len(contexts) == 3
    assert contexts.offsets.tolist() == [0, 3, 3, 5]
    assert contexts.lengths.tolist() == [3, 0, 2]
    assert contexts.rows.tolist() == [0, 0, 0, 2, 2]
    assert contexts.timestamps.tolist() == [0, 1, 2, 0, 1]
    assert contexts.values.tolist() == [1, 1, 1, 1, 1]


def test_rows_are_taken_in_any_order_and_cut(contexts: Contexts) -> None:
    taken = contexts.take(np.array([2, 0, 0, 1]))
    assert lists(taken) == [[0, 2], [3, 1, 3], [3, 1, 3], []]
    assert taken.timestamps.tolist() == [0, 1, 0, 1, 2, 0, 1, 2]
    assert lists(contexts.take(np.array([0, 2, 0]), np.array([2, 0, 1]))) == [[3, 1], [], [3]]
    assert len(contexts.take(np.array([], dtype=np.int64))) == 0


def test_padding_stands_on_the_left_and_old_events_fall_off(contexts: Contexts) -> None:
    assert contexts.padded(2, padding=9).tolist() == [[1, 3], [9, 9], [0, 2]]
    assert contexts.padded(4, padding=9).tolist() == [[9, 3, 1, 3], [9, 9, 9, 9], [9, 9, 0, 2]]


def test_a_matrix_counts_once_or_sums_values() -> None:
    contexts = Contexts(
        offsets=np.array([0, 3, 4]),
        items=np.array([3, 1, 3, 0]),
        timestamps=np.zeros(4, dtype=np.int64),
        values=np.array([2.0, 0.5, 4.0, 3.0], dtype=np.float32),
    )
    assert contexts.matrix(5).toarray().tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert contexts.matrix(5, weighted=True).toarray().tolist() == [[0, 0.5, 0, 6, 0], [3, 0, 0, 0, 0]]
    assert contexts.values.tolist() == [2.0, 0.5, 4.0, 3.0]
    assert contexts.items.tolist() == [3, 1, 3, 0]


def test_a_frame_is_put_in_order_and_unknown_ids_drop_out() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        ("b", "y", 5, 1.0),
        ("a", "x", 3, 2.0),
        ("b", "x", 4, 3.0),
        ("a", "z", 1, 4.0),
        ("c", "x", 0, 5.0),
        ("b", "q", 1, 6.0),
    ]
    frame = pl.DataFrame(
        [(user, item, start + timedelta(seconds=second), value) for user, item, second, value in rows],
        schema=["user_id", "item_id", "timestamp", "value"],
        orient="row",
    )
    canonical = canonical_interactions(frame, "test")
    contexts = Contexts.from_frame(canonical, Vocabulary(["a", "b", "d"]), Vocabulary(["x", "y", "z"]))
    assert lists(contexts) == [[2, 0], [0, 1], []]
    assert contexts.values.tolist() == [4.0, 2.0, 3.0, 1.0]
    first = int(start.timestamp()) * 1_000_000
    assert (contexts.timestamps - first).tolist() == [1_000_000, 3_000_000, 4_000_000, 5_000_000]


def test_ties_keep_the_order_of_the_frame() -> None:
    frame = pl.DataFrame({"user_id": ["a"] * 3, "item_id": ["z", "x", "y"], "timestamp": [7, 7, 7], "value": [1.0] * 3})
    assert lists(Contexts.from_frame(frame, Vocabulary(["a"]), Vocabulary(["x", "y", "z"]))) == [[2, 0, 1]]


def test_examples_show_only_what_lies_before(contexts: Contexts) -> None:
    examples = Examples(
        histories=contexts,
        users=np.array([0, 0, 2, 1]),
        stops=np.array([1, 3, 1, 0]),
        offsets=np.array([0, 1, 3, 4, 6]),
        targets=np.array([1, 2, UNKNOWN, 2, 0, 4]),
        values=np.arange(6, dtype=np.float32),
    )
    assert len(examples) == 4
    assert lists(examples.contexts(0, 4)) == [[3], [3, 1, 3], [0], []]
    assert lists(examples.contexts(1, 3)) == [[3, 1, 3], [0]]
    taken = examples.take(np.array([3, 1]))
    assert (taken.users.tolist(), taken.stops.tolist(), taken.offsets.tolist()) == ([1, 0], [0, 3], [0, 2, 4])
    assert (taken.targets.tolist(), taken.values.tolist()) == ([0, 4, 2, UNKNOWN], [4, 5, 1, 2])
    assert taken.histories is contexts


@settings(deadline=None)
@given(histories, st.data())
def test_taking_agrees_with_lists(plain: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(plain) - 1), max_size=8))
    stops = [data.draw(st.integers(0, len(plain[row]))) for row in rows]
    taken = Contexts.from_lists(plain).take(np.array(rows, dtype=np.int64), np.array(stops, dtype=np.int64))
    assert len(taken) == len(rows)
    expected = [plain[row][:stop] for row, stop in zip(rows, stops, strict=True)]
    assert lists(taken)[: len(rows)] == expected


@settings(deadline=None)
@given(histories, st.integers(1, 7))
def test_padding_agrees_with_lists(plain: list[list[int]], length: int) -> None:
    padded = Contexts.from_lists(plain).padded(length, padding=-7)
    assert padded.tolist() == [([-7] * length + one)[-length:] for one in plain]


def featured(contexts: Contexts) -> Contexts:
    """The three contexts with 2, 1 and 0 features."""
    features = Features(
        offsets=np.array([0, 2, 3, 3]), buckets=np.array([8, 5, 9]), weights=np.array([1, 2, 3], dtype=np.float32)
    )
    return replace(contexts, features=features)


def equal(one: Contexts, other: Contexts) -> bool:
    return one.arrays().keys() == other.arrays().keys() and all(
        np.array_equal(column, other.arrays()[name]) and column.dtype == other.arrays()[name].dtype
        for name, column in one.arrays().items()
    )


def test_contexts_come_back_from_their_arrays(contexts: Contexts) -> None:
    assert list(contexts.arrays()) == ["offsets", "items", "timestamps", "values"]
    again = Contexts.from_arrays(contexts.arrays())
    assert again.features is None
    assert equal(again, contexts)


def test_features_come_back_from_their_arrays(contexts: Contexts) -> None:
    whole = featured(contexts)
    assert set(whole.arrays()) - set(contexts.arrays()) == {f"features.{n}" for n in ("offsets", "buckets", "weights")}
    again = Contexts.from_arrays(whole.arrays())
    assert again.features is not None
    assert (again.features.offsets.tolist(), again.features.buckets.tolist()) == ([0, 2, 3, 3], [8, 5, 9])
    assert equal(again, whole)


def test_arrays_that_are_not_those_of_contexts_are_refused(contexts: Contexts) -> None:
    arrays = contexts.arrays()
    with pytest.raises(TypeError):
        Contexts.from_arrays({name: column for name, column in arrays.items() if name != "items"})
    with pytest.raises(TypeError):
        Contexts.from_arrays(arrays | {"features.offsets": np.array([0, 0, 0, 0])})


def test_features_are_taken_with_their_rows_however_short_the_history(contexts: Contexts) -> None:
    taken = featured(contexts).take(np.array([1, 0, 2, 0]), np.array([0, 1, 2, 0]))
    assert taken.features is not None
    assert taken.features.offsets.tolist() == [0, 1, 3, 3, 5]
    assert taken.features.buckets.tolist() == [9, 8, 5, 8, 5]
    assert contexts.take(np.array([1])).features is None


def test_people_get_the_features_of_the_users_table_in_the_order_of_the_vocabulary() -> None:
    frame = pl.DataFrame({"user_id": ["b", "a"], "item_id": ["x", "x"], "timestamp": [1, 2], "value": [1.0, 1.0]})
    people = pl.DataFrame({"user_id": ["a", "b", "z"], "job": ["poet", "smith", "clerk"]})
    users = Vocabulary(["b", "d", "a"])
    found = Contexts.from_frame(frame, users, Vocabulary(["x"]), people).features
    wanted = Features.from_frame(pl.DataFrame({"job": ["poet", "smith", None]}))
    assert found is not None
    assert (found.matrix() != wanted.matrix()).nnz == 0
    assert Contexts.from_frame(frame, users, Vocabulary(["x"])).features is None
