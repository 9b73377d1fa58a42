"""What is asked of a recommender, and what it answers."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from recloop.serving.filters import Filter

Fallback = Literal["nobody", "unknown_user", "empty_history"]


@dataclass(frozen=True, kw_only=True)
class Past:
    """One event of a history.

    Attributes:
        item_id: with what.
        timestamp: when, microseconds since 1970 UTC, if known.
        value: rating or weight.
    """

    item_id: str
    timestamp: int | None = None
    value: float = 1.0


class Later(Protocol):
    """What people do while a bundle serves."""

    def since(self, user_id: str, seq: int) -> Sequence[Past]:
        """What a user did after the event `seq` of the store."""
        ...

    def version(self, user_id: str) -> Hashable:
        """Another value whenever `since` may give another answer for this user."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """An item and its score."""

    item_id: str
    score: float


class Places(list[Scored]):
    """The items of a slate, best first, which do not change any more."""

    @cached_property
    def ids(self) -> list[str]:
        """The items' ids."""
        return [one.item_id for one in self]

    @cached_property
    def scores(self) -> list[float]:
        """Their scores."""
        return [one.score for one in self]

    @cached_property
    def json(self) -> bytes:
        """As a JSON array."""
        return orjson.dumps([{"item_id": one.item_id, "score": one.score} for one in self])


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request to recommend.

    Attributes:
        user_id: who asks, as `stored_id` gives it; what is stored of them is scored, with what they did since.
        history: events to score instead of what is stored, also for a known user; either all of them have a timestamp,
            or none has and they are in time order, oldest first.
        k: how many items, at least 1.
        exclude: items not to recommend; unknown ones are ignored.
        filters: attribute -> what it must be of an item that is recommended; see `rules`.
        request_id: what the seed of the policy's draws depends on.
    """

    user_id: str | None = None
    history: Sequence[Past] | None = None
    k: int = 10
    exclude: Sequence[str] = ()
    filters: Mapping[str, Filter] = field(default_factory=dict[str, Filter])
    request_id: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ready:
    """The candidates of a person, scored. Shape: N candidates.

    Attributes:
        items: int64 (N,), indices, best first.
        scores: float32 (N,).
        history: item indices of the history that was scored.
        fallback, ignored: as in `Recommendation`.
        version: what it was made of; see `Recommender.ready`.
        slates: by number of places, those that depend on nothing else.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    history: NDArray[np.int64]
    fallback: Fallback | None
    ignored: int
    version: Hashable
    slates: "dict[int, Recommendation]" = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What is recommended, and on what ground.

    Attributes:
        items: best first; fewer than asked for where no more are left.
        fallback: `None` where a history was scored; otherwise why there was none: ``nobody`` (neither a user nor a
            history was given), ``unknown_user`` (a user that the bundle does not know, or who was erased since),
            ``empty_history`` (a history was given or stored, but holds no item of the catalogue).
        ignored: events of the given history whose item is not in the catalogue.
        propensities: the probability that the policy puts each item at its place, given the places before.
        exact: whether the propensities are computed; otherwise they are estimated.
        seed: of the policy's draws; the same request with the same id gives the same slate.
        n_candidates: how many items the policy chose from.
        candidates: digest of their ids and rounded scores, see `digest`.
    """

    items: Places
    fallback: Fallback | None
    ignored: int
    propensities: list[float]
    exact: bool
    seed: int
    n_candidates: int
    candidates: str
