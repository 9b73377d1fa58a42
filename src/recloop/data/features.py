"""Attributes of items or people as sparse numbers, by feature hashing: nothing has to be fitted or stored.

Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
Shapes: N rows, M entries of all rows, F buckets.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from recloop.data.vocabulary import Vocabulary
from recloop.errors import DataError

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

    @classmethod
    def concat(cls, parts: "Sequence[Features]") -> "Features":
        """The rows of all parts, in their order."""
        return cls(
            offsets=np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))]),
            buckets=np.concatenate([part.buckets for part in parts]),
            weights=np.concatenate([part.weights for part in parts]),
        )

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
        number is one for its exact value and one for its order of magnitude (power of ten and first digit), anything
        else is one. The tokens of a cell share a norm of 1. A bucket is the CRC-32 of the token modulo F, so it is the
        same everywhere, also for rows that are met later. Empty cells and numbers that are not finite have none, nor
        have lists of floating-point numbers: no two of their entries would ever be equal, see `vectors`.
        """
        parts = [_hashed(name, frame[name]) for name in frame.columns if not _is_vector(frame.schema[name])]
        if not parts:
            return cls.empty(frame.height)
        entries = pl.concat(parts).sort("row", maintain_order=True)
        counts = np.bincount(entries["row"].to_numpy(), minlength=frame.height)
        return cls(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            buckets=entries["bucket"].to_numpy(writable=True),
            weights=entries["weight"].to_numpy(writable=True),
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
        if isinstance(kind, pl.String | pl.Categorical | pl.Enum):
            parts.append(pl.col(name).cast(pl.String).fill_null(""))
        elif kind == pl.List(pl.String):
            parts.append(pl.col(name).list.join(" ", ignore_nulls=True).fill_null(""))
    if not parts:
        return [""] * table.height
    return table.select(pl.concat_str(parts, separator=" ").str.strip_chars())[:, 0].to_list()


def vector_column(table: pl.DataFrame) -> str | None:
    """The first column of lists of numbers, all of one length, if there is one: vectors computed elsewhere."""
    for name, kind in table.schema.items():
        if isinstance(kind, pl.List | pl.Array) and kind.inner.is_numeric():
            lengths = table[name].cast(pl.List(kind.inner)).drop_nulls().list.len().unique()
            if len(lengths) == 1 and lengths[0] > 0:
                return name
    return None


def vectors(table: pl.DataFrame) -> NDArray[np.float32] | None:
    """The vectors of the rows in the column that `vector_column` finds, (N, D), zeros where a row has none.

    Raises:
        DataError: a number of a vector is missing or not finite.
    """
    name = vector_column(table)
    if name is None:
        return None
    column = table[name].cast(pl.List(pl.Float32))
    width = int(column.drop_nulls().list.len()[0])
    flat = column.drop_nulls().explode().fill_null(float("nan")).to_numpy()
    if not np.isfinite(flat).all():
        raise DataError(f"items: vectors in '{name}' hold numbers that are missing or not finite; correct them.")
    found = np.zeros((table.height, width), dtype=np.float32)
    found[column.is_not_null().to_numpy()] = flat.reshape(-1, width)
    return found


def _is_vector(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.List | pl.Array) and kind.inner.is_float()


def _hashed(name: str, column: pl.Series) -> pl.DataFrame:
    """`row`, `bucket` and `weight` of the tokens of one column."""
    tokens = _tokens(column).group_by("row", "token", maintain_order=True).len()
    words = tokens["token"].unique()
    prefix = zlib.crc32(name.encode())
    buckets = [zlib.crc32(word.encode(), prefix) % BUCKETS for word in words.to_list()]
    known = pl.DataFrame({"token": words, "bucket": pl.Series(buckets, dtype=pl.Int64)})
    norm = pl.col("len").pow(2).sum().over("row").sqrt()
    return tokens.join(known, on="token", how="left", maintain_order="left").select(
        "row", "bucket", (pl.col("len") / norm).cast(pl.Float32).alias("weight")
    )


def _tokens(column: pl.Series) -> pl.DataFrame:
    """The `row` and text of each `token` of one column, repeats included."""
    kind = column.dtype
    cells = pl.DataFrame({"row": pl.int_range(column.len(), eager=True), "cell": column}).drop_nulls()
    if isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        words = pl.col("cell").cast(pl.String).str.to_lowercase().str.extract_all(r"\S+")
        found = cells.with_columns(words).explode("cell").drop_nulls()
        return found.select("row", ("=" + pl.col("cell")).alias("token"))
    if isinstance(kind, pl.List | pl.Array):
        entries = cells.with_columns(pl.col("cell").cast(pl.List(kind.inner))).explode("cell").drop_nulls()
        return _spelt(entries, "={}".format)
    if kind.is_numeric():
        finite = cells.with_columns(pl.col("cell").cast(pl.Float64)).filter(pl.col("cell").is_finite())
        return _spelt(finite, "={:.16g}".format, "~{:.0e}".format)
    return _spelt(cells, "={}".format)


def _spelt(cells: pl.DataFrame, *spellings: Callable[[Any], str]) -> pl.DataFrame:
    """One token a spelling for each of `cells`, of which each different one is spelt once."""
    different = cells["cell"].unique()
    listed = different.to_list()
    parts: list[pl.DataFrame] = []
    for spell in spellings:
        known = pl.DataFrame([different, pl.Series("token", [spell(cell) for cell in listed], dtype=pl.String)])
        found = cells.join(known, on="cell", how="left", maintain_order="left")
        parts.append(found.select("row", "token"))
    return pl.concat(parts)
