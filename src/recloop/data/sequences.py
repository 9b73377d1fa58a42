"""Contexts: what is known of a person when a recommendation is asked for.

Shapes: B contexts in a batch, N events in all of them, L positions of a padded batch, I items, E examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from recloop.columns import ITEM, TIME, USER, VALUE
from recloop.data.features import Features, aligned
from recloop.data.vocabulary import UNKNOWN, Vocabulary


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """A batch of B histories in compressed rows; each history is in time order, oldest first, and may be empty.

    Attributes:
        offsets: int64 (B + 1,); history b is the slice ``offsets[b]:offsets[b + 1]`` of the columns below.
        items: int64 (N,), indices into the catalogue, never `UNKNOWN`.
        timestamps: int64 (N,), microseconds since 1970 UTC; the order alone counts where times are not known.
        values: float32 (N,), ratings or weights.
        features: of the B people, if anything is known of them besides their history.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float32]
    features: Features | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events a context, int64 (B,)."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The context that each event belongs to, int64 (N,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: NDArray[np.integer], stops: NDArray[np.integer] | None = None) -> "Contexts":
        """The contexts at `rows` (repeats allowed), each cut to its first `stops` events where given."""
        starts = self.offsets[rows]
        lengths = self.lengths[rows] if stops is None else np.asarray(stops, dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picked = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Contexts(
            offsets=offsets,
            items=self.items[picked],
            timestamps=self.timestamps[picked],
            values=self.values[picked],
            features=None if self.features is None else self.features.take(rows),
        )

    def followed_by(self, later: "Contexts") -> "Contexts":
        """Each context with what `later` holds of the same row, in time order; features are those of the first."""
        rows = np.concatenate([self.rows, later.rows])
        times = np.concatenate([self.timestamps, later.timestamps])
        order = np.lexsort((times, rows))
        return Contexts(
            offsets=self.offsets + later.offsets,
            items=np.concatenate([self.items, later.items])[order],
            timestamps=times[order],
            values=np.concatenate([self.values, later.values])[order],
            features=self.features,
        )

    @classmethod
    def concat(cls, parts: "Sequence[Contexts]") -> "Contexts":
        """All contexts of all parts, at least one, in their order; people of a part without features have none."""
        features = None
        if any(part.features is not None for part in parts):
            features = Features.concat([part.features or Features.empty(len(part)) for part in parts])
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            items=np.concatenate([part.items for part in parts]),
            timestamps=np.concatenate([part.timestamps for part in parts]),
            values=np.concatenate([part.values for part in parts]),
            features=features,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All columns by name; `from_arrays` makes equal contexts of them."""
        features = (
            {} if self.features is None else {f"features.{key}": value for key, value in vars(self.features).items()}
        )
        return {key: value for key, value in vars(self).items() if key != "features"} | features

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Contexts":
        """What `arrays` gave."""
        features = {key.partition(".")[2]: value for key, value in arrays.items() if key.startswith("features.")}
        own = {key: value for key, value in arrays.items() if not key.startswith("features.")}
        return cls(**own, features=Features(**features) if features else None)

    def padded(self, length: int, padding: int) -> NDArray[np.int64]:
        """The last `length` items of each context, int64 (B, L), filled with `padding` on the left."""
        kept = np.minimum(self.lengths, length)
        position = np.arange(length)[None, :] - (length - kept)[:, None]
        source = (self.offsets[1:] - kept)[:, None] + position
        inside = position >= 0
        batch = np.full((len(self), length), padding, dtype=np.int64)
        batch[inside] = self.items[source[inside]]
        return batch

    def matrix(self, n_items: int, *, weighted: bool = False) -> sparse.csr_matrix:
        """Contexts x items, float32 (B, I); an entry is 1 where the item occurs, or its summed value if `weighted`."""
        data = self.values if weighted else np.ones(len(self.items), dtype=np.float32)
        matrix = sparse.csr_matrix((data, self.items, self.offsets), shape=(len(self), n_items), copy=True)
        matrix.sum_duplicates()
        if not weighted:
            matrix.data[:] = 1.0
        return matrix

    @classmethod
    def from_lists(cls, histories: Sequence[Sequence[int]]) -> "Contexts":
        """Contexts from plain lists of item indices, oldest first; all values 1, times counted up from 0."""
        lengths = np.fromiter((len(history) for history in histories), dtype=np.int64, count=len(histories))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        items = np.fromiter((item for history in histories for item in history), dtype=np.int64, count=int(offsets[-1]))
        timestamps = np.arange(len(items), dtype=np.int64) - np.repeat(offsets[:-1], lengths)
        return cls(offsets=offsets, items=items, timestamps=timestamps, values=np.ones(len(items), dtype=np.float32))

    @classmethod
    def from_frame(
        cls, frame: pl.DataFrame, users: Vocabulary, items: Vocabulary, people: pl.DataFrame | None = None
    ) -> "Contexts":
        """One context for every user of the vocabulary from canonical interactions; unknown users and items drop out.

        Events of one user are in time order; ties keep the order of the frame. `people` is the users table, if there is
        one; the contexts get its features.
        """
        user = users.encode(frame[USER])
        item = items.encode(frame[ITEM])
        time = frame[TIME].cast(pl.Int64).to_numpy()
        known = (user != UNKNOWN) & (item != UNKNOWN)
        order = np.flatnonzero(known)
        order = order[np.lexsort((time[order], user[order]))]
        counts = np.bincount(user[order], minlength=len(users))
        return cls(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            items=item[order],
            timestamps=time[order].astype(np.int64),
            values=frame[VALUE].to_numpy()[order].astype(np.float32),
            features=None if people is None else Features.from_frame(aligned(people, USER, users)),
        )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """E questions with known answers: given the first events of a user, which items come next?

    Attributes:
        histories: one context a user, all events that evaluation may ever show.
        users: int64 (E,), the row of `histories` that each example asks about; examples of a user are adjacent.
        stops: int64 (E,), how many events of that user lie before the question; only these may be shown.
        offsets: int64 (E + 1,), where each example's targets lie in `targets`.
        targets: int64 (T,), item indices that the person did choose, or `UNKNOWN` where the item is not in the
            catalogue: such a target can never be hit, and still counts.
        values: float32 (T,), the rating or weight of each target.
    """

    histories: Contexts
    users: NDArray[np.int64]
    stops: NDArray[np.int64]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int64]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.users)

    def contexts(self, start: int, stop: int) -> Contexts:
        """The contexts of examples ``start:stop``: each holds what lies before its question and nothing else."""
        return self.histories.take(self.users[start:stop], self.stops[start:stop])

    def take(self, rows: NDArray[np.integer]) -> "Examples":
        """The examples at `rows`."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picked = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Examples(
            histories=self.histories,
            users=self.users[rows],
            stops=self.stops[rows],
            offsets=offsets,
            targets=self.targets[picked],
            values=self.values[picked],
        )
