"""Attributes of items or people as sparse numbers, by feature hashing: nothing has to be fitted or stored.

Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
Shapes: N rows, M entries of all rows, F buckets.
"""

import math
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from recloop.data.vocabulary import Vocabulary

BUCKETS = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Features:
    """Sparse features of N rows, in compressed rows; a row may have none.

    Attributes:
        offsets: int64 (N + 1,); row n is the slice ``offsets[n]:offsets[n + 1]`` of the columns below.
        buckets: int64 (M,), from 0 to F - 1.
        weights: float32 (M,).
    """

    offsets: NDArray[np.int64]
    buckets: NDArray[np.int64]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: NDArray[np.integer]) -> "Features":
        """The features of `rows`, repeats allowed."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picked = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Features(offsets=offsets, buckets=self.buckets[picked], weights=self.weights[picked])

    def matrix(self) -> sparse.csr_matrix:
        """float32 (N, F)."""
        matrix = sparse.csr_matrix((self.weights, self.buckets, self.offsets), shape=(len(self), BUCKETS), copy=True)
        matrix.sum_duplicates()
        return matrix

    @classmethod
    def empty(cls, rows: int) -> "Features":
        """Rows of which nothing is known."""
        return cls(
            offsets=np.zeros(rows + 1, dtype=np.int64),
            buckets=np.zeros(0, dtype=np.int64),
            weights=np.zeros(0, dtype=np.float32),
        )

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> "Features":
        """The features of the rows of a table of attributes, without its id column.

        Each cell becomes tokens that carry the column's name: a word of a text or an entry of a list is one each, a
        number is one for its exact value and one for its order of magnitude, anything else is one. The tokens of a cell
        share a norm of 1. A bucket is the CRC-32 of the token modulo F, so it is the same everywhere, also for rows
        that are met later. Empty cells have none.
        """
        rows: list[NDArray[np.int64]] = []
        buckets: list[NDArray[np.int64]] = []
        weights: list[NDArray[np.float32]] = []
        for name in frame.columns:
            for row, cell in enumerate(frame[name].to_list()):
                tokens = _tokens(name, cell)
                rows.append(np.full(len(tokens), row))
                buckets.append(np.fromiter((zlib.crc32(token.encode()) % BUCKETS for token in tokens), np.int64))
                norm = math.sqrt(sum(count * count for count in tokens.values()))
                weights.append(np.fromiter((count / norm for count in tokens.values()), np.float32))
        if not rows:
            return cls.empty(frame.height)
        of_row = np.concatenate(rows)
        order = np.argsort(of_row, kind="stable")
        counts = np.bincount(of_row, minlength=frame.height)
        return cls(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            buckets=np.concatenate(buckets)[order],
            weights=np.concatenate(weights)[order],
        )


def aligned(table: pl.DataFrame, key: str, ids: Vocabulary) -> pl.DataFrame:
    """One row for each of `ids`, in their order, of a table whose ids stand in `key`, without that column.

    Rows of ids that the table lacks are empty.
    """
    return (
        ids.ids.to_frame(key).join(table.unique(key, keep="first"), on=key, how="left", maintain_order="left").drop(key)
    )


def texts(table: pl.DataFrame) -> list[str]:
    """All that the text columns and lists of text of each row say, in the order of the columns, joined by spaces."""
    parts: list[pl.Expr] = []
    for name, kind in table.schema.items():
        if kind == pl.String:
            parts.append(pl.col(name).fill_null(""))
        elif kind == pl.List(pl.String):
            parts.append(pl.col(name).list.join(" ", ignore_nulls=True).fill_null(""))
    if not parts:
        return [""] * table.height
    return table.select(pl.concat_str(parts, separator=" ").str.strip_chars())[:, 0].to_list()


def vector_column(table: pl.DataFrame) -> str | None:
    """The first column of lists of numbers, all of one length, if there is one: vectors computed elsewhere."""
    for name, kind in table.schema.items():
        if isinstance(kind, pl.List | pl.Array) and kind.inner.is_numeric():
            column = table[name].cast(pl.List(kind.inner))
            if column.drop_nulls().len() and column.drop_nulls().list.len().n_unique() == 1:
                return name
    return None


def _tokens(name: str, cell: Any) -> Counter[str]:
    if cell is None:
        return Counter()
    if isinstance(cell, str):
        return Counter(f"{name}={word}" for word in cell.lower().split())
    if isinstance(cell, list):
        return Counter(f"{name}={entry}" for entry in cell if entry is not None)
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return Counter([f"{name}={cell}"])
    if not math.isfinite(cell):
        return Counter()
    return Counter([f"{name}={cell:g}", f"{name}~{cell:.1e}"])
