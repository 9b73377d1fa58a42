"""Features, aligned tables, texts and vectors; expected tokens are hashed here one by one."""

import math
import time
import zlib
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.data.features import BUCKETS, Features, aligned, texts, vector_column, vectors
from recloop.data.vocabulary import Vocabulary
from recloop.errors import DataError


def expected(*rows: list[tuple[str, float]]) -> np.ndarray:
    """A dense matrix from tokens and weights, by hand."""
    matrix = np.zeros((len(rows), BUCKETS))
    for row, tokens in enumerate(rows):
        for token, weight in tokens:
            matrix[row, zlib.crc32(token.encode()) % BUCKETS] += weight
    return matrix


def assert_features(frame: pl.DataFrame, *rows: list[tuple[str, float]]) -> None:
    np.testing.assert_allclose(Features.from_frame(frame).matrix().toarray(), expected(*rows), rtol=1e-6)


def test_words_of_a_text_are_tokens_in_lower_case_with_a_norm_of_one() -> None:
    half = 1 / math.sqrt(2)
    assert_features(
        pl.DataFrame({"title": ["Toy  Story", "aa b AA", None, ""]}),
        [("title=toy", half), ("title=story", half)],
        [("title=aa", 2 / math.sqrt(5)), ("title=b", 1 / math.sqrt(5))],
        [],
        [],
    )


def test_categories_are_words_too() -> None:
    frame = pl.DataFrame({"kind": pl.Series(["A b", None], dtype=pl.Categorical)})
    assert_features(frame, [("kind=a", math.sqrt(0.5)), ("kind=b", math.sqrt(0.5))], [])
    assert_features(frame.cast(pl.Enum(["A b"])), [("kind=a", math.sqrt(0.5)), ("kind=b", math.sqrt(0.5))], [])


def test_entries_of_a_list_are_tokens_as_they_are() -> None:
    assert_features(
        pl.DataFrame({"tags": [["Sci Fi", None, "x", "x"], None, []]}),
        [("tags=Sci Fi", 1 / math.sqrt(5)), ("tags=x", 2 / math.sqrt(5))],
        [],
        [],
    )
    assert_features(
        pl.DataFrame({"ids": pl.Series([[3, 4], [4, 4]], dtype=pl.Array(pl.Int64, 2))}),
        [("ids=3", math.sqrt(0.5)), ("ids=4", math.sqrt(0.5))],
        [("ids=4", 1.0)],
    )


def test_numbers_have_a_token_for_their_value_and_one_for_their_order_of_magnitude() -> None:
    half = math.sqrt(0.5)
    assert_features(
        pl.DataFrame({"age": [24, 21, None, 1234567]}),
        [("age=24", half), ("age~2e+01", half)],
        [("age=21", half), ("age~2e+01", half)],
        [],
        [("age=1234567", half), ("age~1e+06", half)],
    )
    assert_features(
        pl.DataFrame({"price": [0.5, math.nan, math.inf, 24.0]}),
        [("price=0.5", half), ("price~5e-01", half)],
        [],
        [],
        [("price=24", half), ("price~2e+01", half)],
    )


def test_anything_else_is_one_token() -> None:
    assert_features(pl.DataFrame({"new": [True, False, None]}), [("new=True", 1)], [("new=False", 1)], [])
    assert_features(pl.DataFrame({"day": [date(2026, 1, 31), None]}), [("day=2026-01-31", 1)], [])
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    assert_features(pl.DataFrame({"at": [moment]}), [(f"at={moment}", 1)])
    assert_features(pl.DataFrame({"where": [{"x": 1, "y": "b"}, None]}), [("where={'x': 1, 'y': 'b'}", 1)], [])
    assert_features(pl.DataFrame({"pairs": [[["a", "b"]], None]}), [("pairs=['a', 'b']", 1)], [])
    assert_features(pl.DataFrame({"empty": [None, None]}), [], [])


def test_vectors_are_no_tokens() -> None:
    assert len(Features.from_frame(pl.DataFrame({"vector": [[0.5, 1.0], [1.0, 2.0]]})).buckets) == 0
    array = pl.DataFrame({"vector": [[0.5, 1.0], [1.0, 2.0]]}, schema={"vector": pl.Array(pl.Float32, 2)})
    assert len(Features.from_frame(array)) == 2


def test_columns_add_up_and_rows_keep_their_place() -> None:
    frame = pl.DataFrame({"a": ["x", None, "y z"], "b": ["x", "w", None]})
    features = Features.from_frame(frame)
    assert features.offsets.tolist() == [0, 2, 3, 5]
    assert (features.buckets.dtype, features.weights.dtype) == (np.int64, np.float32)
    half = math.sqrt(0.5)
    assert_features(frame, [("a=x", 1), ("b=x", 1)], [("b=w", 1)], [("a=y", half), ("a=z", half)])


def test_equal_rows_have_equal_features_whatever_the_table() -> None:
    one = Features.from_frame(pl.DataFrame({"a": ["m n", "o"], "b": [7, 8]}))
    other = Features.from_frame(pl.DataFrame({"b": [9, 7, 7], "a": ["z", "m n", "m n"]}))
    np.testing.assert_array_equal(one.matrix()[0].toarray(), other.matrix()[1].toarray())
    np.testing.assert_array_equal(one.matrix()[0].toarray(), other.matrix()[2].toarray())


cells = st.one_of(st.none(), st.text(alphabet="abAB .é\t", max_size=6))


@settings(deadline=None)
@given(st.lists(cells, min_size=1, max_size=7))
def test_words_agree_with_counting_them(column: list[str | None]) -> None:
    rows = []
    for cell in column:
        counts = Counter(f"t={word}" for word in (cell or "").lower().split())
        norm = math.sqrt(sum(count**2 for count in counts.values()))
        rows.append([(token, count / norm) for token, count in counts.items()])
    assert_features(pl.DataFrame({"t": pl.Series(column, dtype=pl.String)}), *rows)


@pytest.mark.parametrize("frame", [pl.DataFrame(), pl.DataFrame({"a": []}), pl.DataFrame({"a": []}).cast(pl.String)])
def test_tables_without_rows_or_columns_have_no_features(frame: pl.DataFrame) -> None:
    assert len(Features.from_frame(frame)) == 0


def test_rows_without_columns_are_rows_of_which_nothing_is_known() -> None:
    features = Features.from_frame(pl.DataFrame({"v": [[0.5], [0.1], None]}))
    assert features.offsets.tolist() == Features.empty(3).offsets.tolist() == [0, 0, 0, 0]
    assert features.matrix().shape == (3, BUCKETS)


def test_features_can_be_written_to() -> None:
    features = Features.from_frame(pl.DataFrame({"a": ["x", "y"]}))
    assert features.buckets.flags.writeable
    assert features.weights.flags.writeable


def test_rows_are_taken_in_any_order() -> None:
    features = Features(
        offsets=np.array([0, 2, 2, 3]), buckets=np.array([5, 6, 7]), weights=np.array([1, 2, 3], dtype=np.float32)
    )
    taken = features.take(np.array([2, 0, 1, 0]))
    assert taken.offsets.tolist() == [0, 1, 3, 3, 5]
    assert taken.buckets.tolist() == [7, 5, 6, 5, 6]
    assert taken.weights.tolist() == [3, 1, 2, 1, 2]
    assert len(features.take(np.array([], dtype=np.int64))) == 0


def test_a_matrix_adds_up_what_meets_in_a_bucket_and_leaves_the_features_alone() -> None:
    features = Features(
        offsets=np.array([0, 3]), buckets=np.array([6, 5, 6]), weights=np.array([1, 2, 4], dtype=np.float32)
    )
    matrix = features.matrix()
    assert (matrix[0, 6], matrix[0, 5], matrix.nnz) == (5, 2, 2)
    assert features.buckets.tolist() == [6, 5, 6]
    assert features.weights.tolist() == [1, 2, 4]


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds_of_work() -> None:
    random = np.random.default_rng(0)
    rows = 100_000
    frame = pl.DataFrame(
        {
            "age": random.integers(1, 90, rows),
            "zip": random.integers(0, 99_999, rows).astype(str),
            "job": random.choice(["a b c", "d e", "f"], rows),
            "share": random.random(rows),
            "title": [f"w{a} o{b} t{c}" for a, b, c in random.integers(0, 30_000, (rows, 3))],
        }
    )
    start = time.process_time()
    assert len(Features.from_frame(frame)) == rows
    assert time.process_time() - start < 5


def test_alignment_gives_one_row_an_id_in_their_order() -> None:
    table = pl.DataFrame({"item_id": ["c", "a", "a", "z"], "year": [3, 1, 9, 7], "tag": [["x"], None, ["y"], []]})
    found = aligned(table, "item_id", Vocabulary(["b", "a", "c"]))
    assert found.columns == ["year", "tag"]
    assert found.rows() == [(1, None), (None, None), (3, ["x"])]


def test_texts_join_what_is_said_in_the_order_of_the_columns() -> None:
    table = pl.DataFrame(
        {
            "title": ["Toy Story", None, "", None],
            "year": [1995, 1996, 1997, 1998],
            "tags": [["a", None, "b"], ["c"], None, []],
            "kind": pl.Series([None, "film", None, None], dtype=pl.Categorical),
        }
    )
    assert texts(table) == ["Toy Story a b", "c film", "", ""]
    assert texts(pl.DataFrame({"year": [1, 2]})) == ["", ""]


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        ([[1.0, 2.0], None, [3.0, 4.0]], pl.List(pl.Float64), True),
        ([[1, 2], [3, 4]], pl.Array(pl.Int32, 2), True),
        ([[1.0, 2.0], [3.0]], pl.List(pl.Float64), False),
        ([[], []], pl.List(pl.Float64), False),
        ([None, None], pl.List(pl.Float64), False),
        ([["a", "b"], ["c", "d"]], pl.List(pl.String), False),
        ([1.0, 2.0], pl.Float64, False),
    ],
)
def test_a_column_of_vectors_is_one_of_equally_many_numbers(
    cells: list[Any], kind: pl.DataType, *, found: bool
) -> None:
    table = pl.DataFrame({"title": ["x"] * len(cells), "v": pl.Series(cells, dtype=kind)})
    assert vector_column(table) == ("v" if found else None)
    assert (vectors(table) is not None) == found


def test_the_first_column_of_vectors_counts() -> None:
    table = pl.DataFrame({"tags": [[1], [2, 3]], "b": [[1.0], [2.0]], "a": [[9.0], [9.0]]})
    assert vector_column(table) == "b"


def test_vectors_are_rows_and_zeros_where_there_is_none() -> None:
    found = vectors(pl.DataFrame({"v": [[1, 2, 3], None, [4, 5, 6]]}))
    assert found is not None
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 2, 3], [0, 0, 0], [4, 5, 6]]


@pytest.mark.parametrize("number", [None, math.nan, math.inf])
def test_vectors_with_holes_are_refused_by_name(number: float | None) -> None:
    with pytest.raises(DataError) as error:
        vectors(pl.DataFrame({"image": [[1.0, 2.0], [3.0, number]]}))
    assert str(error.value) == ("items: vectors in 'image' hold numbers that are missing or not finite; correct them.")
