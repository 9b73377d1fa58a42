"""From raw ids to recommendations: the same scores and the same ranking as in evaluation, for one person at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, overload

import numpy as np
import torch
from pydantic import field_validator

from recloop import policies
from recloop.config import Config, parse, section
from recloop.data import pseudonyms
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import UNKNOWN
from recloop.errors import DataError
from recloop.retrieval.exact import rank, top_k
from recloop.serving.bundle import Bundle

Fallback = Literal["nobody", "unknown_user", "empty_history"]


class ServeConfig(Config):
    """How a packaged model recommends; part of the bundle.

    Attributes:
        policy: the slate policy, by name.
        mask_seen: leave out the items of the history.
    """

    policy: str = "top_n"
    mask_seen: bool = True

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, name: str) -> str:
        if name not in policies.names():
            raise ValueError(f"it must be one of: {', '.join(policies.names())}")
        return name


class UnknownItemError(DataError):
    """An item that the catalogue does not hold."""


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


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An item and its score."""

    item_id: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What is recommended, and on what ground.

    Attributes:
        items: best first; fewer than asked for where no more are left.
        fallback: `None` where a history was scored; otherwise why there was none: ``nobody`` (neither a user nor a
            history was given), ``unknown_user`` (a user that the bundle does not know, or who was erased since),
            ``empty_history`` (a history was given or stored, but holds no item of the catalogue).
        ignored: events of the given history whose item is not in the catalogue.
    """

    items: list[Scored]
    fallback: Fallback | None
    ignored: int


class Recommender:
    """Answers for one bundle. Its methods may be called by several threads.

    Args:
        bundle: what to recommend from.
        config: how; by default the section `serve` of the parameters that the bundle was packaged with.
        erased: id -> moment until which what a user did is erased (microseconds since 1970 UTC), `None` if nothing is.
            The bundle's history of such a user is used only if all of it happened later.

    Raises:
        ConfigError: the bundle's users are pseudonyms, and their key is not in the environment.
    """

    def __init__(
        self, bundle: Bundle, config: ServeConfig | None = None, erased: Callable[[str], int | None] | None = None
    ) -> None:
        packaged = section(bundle.manifest.get("params") or {}, "serve")
        self.bundle = bundle
        self.config = config or parse(ServeConfig, packaged, f"{bundle.id}: params.serve")
        self._slate = policies.find(self.config.policy)
        self._erased = erased or (lambda _: None)
        record = bundle.manifest.get("pseudonyms")
        self._pseudonyms = None if record is None else pseudonyms.from_record(record)

    @overload
    def stored_id(self, user_id: str) -> str: ...

    @overload
    def stored_id(self, user_id: str | None) -> str | None: ...

    def stored_id(self, user_id: str | None) -> str | None:
        """What stands for a user in the bundle and in the store: a pseudonym if the bundle's users have them."""
        return user_id if user_id is None or self._pseudonyms is None else self._pseudonyms.of(user_id)

    def recommend(
        self,
        *,
        user_id: str | None = None,
        history: Sequence[Past] | None = None,
        k: int = 10,
        exclude: Sequence[str] = (),
    ) -> Recommendation:
        """The `k` best items for a person.

        Args:
            user_id: who asks, as `stored_id` gives it; a known user's stored history is scored.
            history: events to score instead of what is stored, also for a known user; either all of them have a
                timestamp, or none has and they are in time order, oldest first.
            k: how many, at least 1.
            exclude: items not to recommend; unknown ones are ignored.

        Raises:
            DataError: only some events of the history have a timestamp.
        """
        assert k >= 1
        context, ignored = self._context(user_id, history)
        excluded = [index for index in map(self.bundle.vocabulary.index, exclude) if index != UNKNOWN]
        with torch.inference_mode():
            ranked = rank(
                self.bundle.model,
                context,
                min(k, len(self.bundle.vocabulary)),
                mask_seen=self.config.mask_seen,
                exclude=[excluded],
            )
        left = ranked.items[0] != UNKNOWN
        slate = self._slate(ranked.items[0][left], ranked.scores[0][left], k)
        return Recommendation(
            items=self._scored(slate.items.tolist(), slate.scores.tolist()),
            fallback=None if len(context.items) else _fallback(user_id, history, known=self._knows(user_id)),
            ignored=ignored,
        )

    def similar(self, item_id: str, k: int = 10) -> list[Scored]:
        """The `k` items most like one item, which itself is left out.

        Raises:
            UnknownItemError: the catalogue does not hold the item.
        """
        index = self.bundle.vocabulary.index(item_id)
        if index == UNKNOWN:
            raise UnknownItemError(
                f"item_id '{item_id}' is not in the catalogue; ask for an item that the model knows."
            )
        with torch.inference_mode():
            scores = self.bundle.model.similar([index])[0]
            items, values = top_k(scores, min(k, len(scores)), [index])
        return self._scored(items, values)

    def _context(self, user_id: str | None, history: Sequence[Past] | None) -> tuple[Contexts, int]:
        """A batch of one context, and how many of its events lie outside the catalogue."""
        known = None
        if user_id is not None and self._knows(user_id):
            known = self.bundle.histories.take(np.array([self.bundle.users.index(user_id)]))
        if history is not None:
            context, ignored = self._encode(history)
            return (context if known is None else replace(context, features=known.features)), ignored
        return known or Contexts.from_lists([[]]), 0

    def _encode(self, history: Sequence[Past]) -> tuple[Contexts, int]:
        items = self.bundle.vocabulary.encode([past.item_id for past in history])
        times = [past.timestamp for past in history if past.timestamp is not None]
        if len(times) not in {0, len(history)}:
            raise DataError("history: either every event has a timestamp or none has; add the missing ones.")
        timestamps = np.array(times or range(len(history)), dtype=np.int64)
        values = np.array([past.value for past in history], dtype=np.float32)
        known = items != UNKNOWN
        order = np.flatnonzero(known)
        order = order[np.argsort(timestamps[order], kind="stable")]
        context = Contexts(
            offsets=np.array([0, len(order)], dtype=np.int64),
            items=items[order],
            timestamps=timestamps[order],
            values=values[order],
        )
        return context, int(len(history) - len(order))

    def _knows(self, user_id: str | None) -> bool:
        if user_id is None or (row := self.bundle.users.index(user_id)) == UNKNOWN:
            return False
        until = self._erased(user_id)
        return until is None or self._began_after(until, row)

    def _began_after(self, until: int, row: int) -> bool:
        """Whether the bundle holds nothing of a user that is erased, but something that is not."""
        times = self.bundle.histories.take(np.array([row])).timestamps
        return bool(len(times)) and int(times.min()) > until

    def _scored(self, items: list[int], scores: list[float]) -> list[Scored]:
        ids = self.bundle.vocabulary.decode(items)
        return [Scored(item_id=item_id, score=score) for item_id, score in zip(ids, scores, strict=True)]


def _fallback(user_id: str | None, history: Sequence[Past] | None, *, known: bool) -> Fallback:
    if history is not None or known:
        return "empty_history"
    return "nobody" if user_id is None else "unknown_user"
