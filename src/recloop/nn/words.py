"""Texts as numbers: how often each word occurs, or the words in order as hashed indices.

Shapes: N texts, W different words, L words of a text that are looked at.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

_WORD = r"[\p{L}\p{N}]+"


def word_counts(texts: Sequence[str]) -> sparse.csr_matrix:
    """How often each word occurs in each text, float32 (N, W); columns stand for the words in sorted order.

    A word is a run of letters and digits, in lower case.
    """
    words = _words(texts)
    different = words["word"].unique().sort()
    columns = different.search_sorted(words["word"]).to_numpy().astype(np.int64)
    data = np.ones(len(columns), dtype=np.float32)
    shape = (len(texts), len(different))
    matrix = sparse.csr_matrix(sparse.coo_matrix((data, (words["text"].to_numpy(), columns)), shape=shape))
    matrix.sum_duplicates()
    return matrix


def hashed_words(texts: Sequence[str], buckets: int, most: int) -> NDArray[np.int32]:
    """The first words of each text in order, int32 (N, L), from 1 to `buckets`; 0 stands after the last word.

    A word's index is its CRC-32 modulo `buckets`, plus 1. L is the number of words of the longest text, but at most
    `most` and at least 1.
    """
    words = _words(texts)
    different = words["word"].unique()
    indices = [1 + zlib.crc32(word.encode()) % buckets for word in different.to_list()]
    known = pl.DataFrame([different, pl.Series("index", indices, dtype=pl.Int32)])
    words = words.join(known, on="word", how="left", maintain_order="left")
    row = words["text"].to_numpy()
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < most
    length = int(place[kept].max(initial=0)) + 1
    found = np.zeros((len(texts), length), dtype=np.int32)
    found[row[kept], place[kept]] = words["index"].to_numpy()[kept]
    return found


def _words(texts: Sequence[str]) -> pl.DataFrame:
    """All words, and the index of the `text` that each `word` stands in, in order."""
    column = pl.Series("word", texts, dtype=pl.String).str.to_lowercase().str.extract_all(_WORD)
    frame = pl.DataFrame([pl.int_range(len(texts), eager=True).alias("text"), column])
    return frame.explode("word").drop_nulls()
