import zlib

import numpy as np
import pytest

from recloop.nn.words import hashed_words, word_counts

TEXTS = ["War & Peace: war", "", "l'été 1942", "peace"]


def test_words_are_counted_in_columns_in_sorted_order() -> None:
    counts = word_counts(TEXTS)
    assert counts.dtype == np.float32
    words = sorted(["war", "peace", "l", "été", "1942"])
    wanted = np.zeros((4, 5))
    for row, said in enumerate([["war", "peace", "war"], [], ["l", "été", "1942"], ["peace"]]):
        for word in said:
            wanted[row, words.index(word)] += 1
    assert counts.toarray().tolist() == wanted.tolist()


def test_texts_without_words_have_no_columns() -> None:
    assert word_counts(["", "..."]).shape == (2, 0)
    assert word_counts([]).shape == (0, 0)


def index(word: str, buckets: int = 1000) -> int:
    return 1 + zlib.crc32(word.encode()) % buckets


def test_words_keep_their_order_and_zeros_follow() -> None:
    found = hashed_words(TEXTS, 1000, 9)
    assert found.dtype == np.int32
    assert found.tolist() == [
        [index("war"), index("peace"), index("war")],
        [0, 0, 0],
        [index("l"), index("été"), index("1942")],
        [index("peace"), 0, 0],
    ]


@pytest.mark.parametrize(("most", "width"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_long_texts_are_cut(most: int, width: int) -> None:
    found = hashed_words(TEXTS, 1000, most)
    assert found.tolist() == hashed_words(TEXTS, 1000, 9)[:, :width].tolist()


def test_words_share_few_buckets() -> None:
    assert set(hashed_words(["a b c d e f g"], 2, 9).ravel().tolist()) == {1, 2}


def test_nothing_said_is_one_column_of_zeros() -> None:
    assert hashed_words(["", "?"], 10, 5).tolist() == [[0], [0]]
    assert hashed_words([], 10, 5).shape == (0, 1)
