"""Ids and indices."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.data.vocabulary import UNKNOWN, Vocabulary


def test_ids_are_sorted_as_text_and_unique() -> None:
    vocabulary = Vocabulary(["b", "10", "a", "9", "b"])
    assert vocabulary.ids.to_list() == ["10", "9", "a", "b"]
    assert len(vocabulary) == 4
    assert [vocabulary.index(name) for name in ("10", "b", "c")] == [0, 3, UNKNOWN]


def test_series_and_lists_are_encoded_alike() -> None:
    vocabulary = Vocabulary(pl.Series(["b", "d"]))
    names = ["a", "b", "c", "d", "e", ""]
    expected = [UNKNOWN, 0, UNKNOWN, 1, UNKNOWN, UNKNOWN]
    assert vocabulary.encode(names).tolist() == vocabulary.encode(pl.Series(names)).tolist() == expected
    assert vocabulary.decode([1, 0, 1]) == ["d", "b", "d"]


def test_a_missing_id_is_unknown() -> None:
    assert Vocabulary(["a"]).encode(pl.Series(["a", None])).tolist() == [0, UNKNOWN]


def test_an_empty_vocabulary_knows_nothing() -> None:
    empty = Vocabulary([])
    assert (len(empty), empty.index("a")) == (0, UNKNOWN)
    assert empty.encode(pl.Series(["a", "b"])).tolist() == empty.encode(["a", "b"]).tolist() == [UNKNOWN, UNKNOWN]
    assert empty.decode([]) == []


def test_equal_ids_are_equal_vocabularies() -> None:
    assert Vocabulary(["a", "b"]) == Vocabulary(["b", "a", "a"])
    assert Vocabulary(["a"]) != Vocabulary(["b"])
    assert Vocabulary(["a"]) != ["a"]


def test_a_null_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="an id is null"):
        Vocabulary(pl.Series(["a", None]))


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), max_size=12), st.lists(st.text(max_size=3), max_size=12))
def test_encoding_and_decoding_are_inverse(ids: list[str], others: list[str]) -> None:
    vocabulary = Vocabulary(ids)
    assert vocabulary.decode(vocabulary.encode(pl.Series(ids, dtype=pl.String))) == ids
    series = pl.Series(others, dtype=pl.String)
    assert vocabulary.encode(series).tolist() == [vocabulary.index(name) for name in others]
