"""The mapping between raw ids and dense indices."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

UNKNOWN = -1
FEW = 1_000
"""Up to how many ids look-ups are quicker than a column."""


class Vocabulary:
    """Sorted unique ids; the index of an id is its rank.

    Args:
        ids: ids in any order, repeats allowed, nulls not.
    """

    def __init__(self, ids: Sequence[str] | pl.Series) -> None:
        series = pl.Series("id", ids, dtype=pl.String)
        assert series.null_count() == 0, "an id is null"
        self.ids = series.unique().sort()

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.equals(other.ids)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.ids)}

    @cached_property
    def _names(self) -> list[str]:
        return list(self._index)  # the same strings, not copies

    def index(self, name: str) -> int:
        """The index of one id, or `UNKNOWN`."""
        return self._index.get(name, UNKNOWN)

    def encode(self, ids: Sequence[str] | pl.Series) -> NDArray[np.int64]:
        """Indices of `ids`, int64 (N,); `UNKNOWN` where an id is not in the vocabulary.

        A Series is encoded without a Python loop; a short list, as in a request, by look-ups.
        """
        if not isinstance(ids, pl.Series):
            return np.fromiter((self._index.get(name, UNKNOWN) for name in ids), dtype=np.int64, count=len(ids))
        if not len(self):
            return np.full(len(ids), UNKNOWN, dtype=np.int64)
        position = self.ids.search_sorted(ids).clip(0, len(self) - 1)
        known = (self.ids.gather(position) == ids).fill_null(value=False)
        return np.where(known.to_numpy(), position.to_numpy().astype(np.int64), UNKNOWN)

    def decode(self, indices: NDArray[np.integer] | Sequence[int]) -> list[str]:
        """The ids at `indices`, which must all be known; a short list, as in an answer, by look-ups."""
        if len(indices) > FEW:
            return self.ids.gather(np.asarray(indices, dtype=np.int64)).to_list()
        names = self._names
        return [names[index] for index in (indices.tolist() if isinstance(indices, np.ndarray) else indices)]
