"""From raw ids to recommendations: the same scores and the same ranking as in evaluation, for one person at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal, overload
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from recloop import policies
from recloop.config import SEEDS, Config, parse, section
from recloop.data import pseudonyms
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import UNKNOWN
from recloop.errors import ConfigError, DataError
from recloop.policies import Clicks, PolicyConfig
from recloop.retrieval.exact import rank, top_k
from recloop.serving.bundle import Bundle, packaged_until
from recloop.serving.side import LEARNT, Side, Statistics

Fallback = Literal["nobody", "unknown_user", "empty_history"]


class ServeConfig(Config):
    """How a packaged model recommends; part of the bundle.

    Attributes:
        policy: the slate policy, by name.
        policy_options: the parameters of the policy; see its `Config`.
        candidates: how many of the best items the policy chooses from, if the slate is not longer than that.
        salt: what, besides the request's id, the seed of the policy's draws depends on.
        mask_seen: leave out the items of the history.
    """

    policy: str = "top_n"
    policy_options: dict[str, Any] = Field(default_factory=dict)
    candidates: int = Field(default=100, ge=1, le=10_000)
    salt: str = ""
    mask_seen: bool = True

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, name: str) -> str:
        if name not in policies.names():
            raise ValueError(f"it must be one of: {', '.join(policies.names())}")
        return name

    @field_validator("policy_options")
    @classmethod
    def _valid_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "policy" in info.data:
            try:
                parse(policies.find(info.data["policy"]).Config, options, info.data["policy"])
            except ConfigError as error:
                raise ValueError(str(error).removesuffix(".").removesuffix("; correct the value")) from None
        return options

    def options(self) -> PolicyConfig:
        """The policy's parameters."""
        return parse(policies.find(self.policy).Config, self.policy_options, f"policy_options of {self.policy}")


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
        propensities: the probability that the policy puts each item at its place, given the places before.
        exact: whether the propensities are computed; otherwise they are estimated.
        seed: of the policy's draws; the same request with the same id gives the same slate.
        n_candidates: how many items the policy chose from.
        candidates: digest of their ids and rounded scores, see `digest`.
    """

    items: list[Scored]
    fallback: Fallback | None
    ignored: int
    propensities: list[float]
    exact: bool
    seed: int
    n_candidates: int
    candidates: str


class Recommender:
    """Answers for one bundle. Its methods may be called by several threads.

    Attributes:
        learns: whether the policy learns from what people do with slates.

    Args:
        bundle: what to recommend from.
        config: how; by default the section `serve` of the parameters that the bundle was packaged with.
        clicks: what was clicked so far, a number an item of the catalogue, or where it is counted, for policies that
            learn from it.
        live: id, and `seq` of an event of the store -> what the user did later; by default nothing. It is asked for
            what came after the bundle's histories, which end at the manifest's ``data.feedback``.
        erased: id -> moment until which what a user did is erased (microseconds since 1970 UTC), `None` if nothing is.
            The bundle's history of such a user is used only if all of it happened later.

    Raises:
        ConfigError: the configuration is not valid, its policy needs something that the bundle lacks, or the bundle's
            users are pseudonyms, and their key is not in the environment.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: ServeConfig | None = None,
        clicks: Clicks | Statistics | None = None,
        erased: Callable[[str], int | None] | None = None,
        live: Callable[[str, int], Sequence[Past]] | None = None,
    ) -> None:
        packaged = section(bundle.manifest.get("params") or {}, "serve")
        self.bundle = bundle
        self.config = config or parse(ServeConfig, packaged, f"{bundle.id}: params.serve")
        self._policy = policies.find(self.config.policy)
        self._options = self.config.options()
        needs = self._policy.NEEDS | self._options.needs
        self.learns = bool(needs & LEARNT)
        self._side = Side.of(bundle, needs, self.config.policy, clicks)
        self._erased = erased or (lambda _: None)
        self._live = live or (lambda _, __: ())
        self._packaged_until = packaged_until(bundle.manifest)
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
        request_id: str | None = None,
    ) -> Recommendation:
        """The policy's slate of `k` items for a person.

        Args:
            user_id: who asks, as `stored_id` gives it; what is stored of them is scored, with what they did since.
            history: events to score instead of what is stored, also for a known user; either all of them have a
                timestamp, or none has and they are in time order, oldest first.
            k: how many, at least 1.
            exclude: items not to recommend; unknown ones are ignored.
            request_id: what the seed of the policy's draws depends on; by default a new one.

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
                min(max(k, self.config.candidates), len(self.bundle.vocabulary)),
                mask_seen=self.config.mask_seen,
                exclude=[excluded],
            )
        left = ranked.items[0] != UNKNOWN
        given = self._side.candidates(ranked.items[0][left], ranked.scores[0][left], context.items)
        seed = seed_of(request_id or uuid4().hex, self.config.salt)
        slate = self._policy.slate(given, k, self._options, np.random.default_rng(seed))
        return Recommendation(
            items=self._scored(slate.items.tolist(), slate.scores.tolist()),
            fallback=None if len(context.items) else _fallback(user_id, history, known=self._has_acted(user_id)),
            ignored=ignored,
            propensities=slate.propensities.tolist(),
            exact=slate.exact,
            seed=seed,
            n_candidates=len(given),
            candidates=digest(self.bundle.vocabulary.decode(given.items), given.scores),
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
        since = self._since(user_id)
        if not since:
            return known or Contexts.from_lists([[]]), 0
        context, ignored = self._encode(since)
        return (context if known is None else known.followed_by(context)), ignored

    def _since(self, user_id: str | None) -> Sequence[Past]:
        """What a user did after the bundle's histories end, if it is known where that is."""
        if user_id is None or self._packaged_until is None:
            return ()
        return self._live(user_id, self._packaged_until)

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

    def _has_acted(self, user_id: str | None) -> bool:
        return self._knows(user_id) or bool(self._since(user_id))

    def _began_after(self, until: int, row: int) -> bool:
        """Whether the bundle holds nothing of a user that is erased, but something that is not."""
        times = self.bundle.histories.take(np.array([row])).timestamps
        return bool(len(times)) and int(times.min()) > until

    def _scored(self, items: list[int], scores: list[float]) -> list[Scored]:
        ids = self.bundle.vocabulary.decode(items)
        return [Scored(item_id=item_id, score=score) for item_id, score in zip(ids, scores, strict=True)]


def seed_of(request_id: str, salt: str = "") -> int:
    """The seed of a request, from 0 to 2^63 - 1: the same for the same id and salt, everywhere."""
    key = f"{len(salt)}:{salt}{request_id}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big") % SEEDS


def digest(ids: Sequence[str], scores: NDArray[np.float32]) -> str:
    """16 hexadecimal digits that tell candidates apart, by their ids, their order and their scores.

    The scores are rounded to three decimals, so that the last digits of another processor's sums seldom matter.
    """
    rounded = np.round(scores.astype(np.float64), 3) + 0.0
    return blake2b("\0".join(ids).encode() + rounded.astype("<f8").tobytes(), digest_size=8).hexdigest()


def _fallback(user_id: str | None, history: Sequence[Past] | None, *, known: bool) -> Fallback:
    if history is not None or known:
        return "empty_history"
    return "nobody" if user_id is None else "unknown_user"
