"""From raw ids to recommendations: the same scores and the same ranking as in evaluation, for one person at a time."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from hashlib import blake2b
from threading import Lock
from typing import Any, NamedTuple, cast, overload
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
from recloop.errors import ConfigError, DataError, RecloopError
from recloop.policies import Clicks, PolicyConfig
from recloop.retrieval.exact import rank, top_k
from recloop.serving.asking import Ask, Fallback, Later, Past, Places, Ready, Recommendation, Scored
from recloop.serving.bundle import Bundle, packaged_until
from recloop.serving.rules import Rules, RulesConfig
from recloop.serving.side import LEARNT, Side, Statistics


class ServeConfig(Config):
    """How a packaged model recommends; part of the bundle.

    Attributes:
        policy: the slate policy, by name.
        policy_options: the parameters of the policy; see its `Config`.
        candidates: how many of the best items the policy chooses from, if the slate is not longer than that.
        salt: what, besides the request's id, the seed of the policy's draws depends on.
        mask_seen: leave out the items of the history.
        rules: filters, boosts, freshness and caps, see `rules.RulesConfig`.
        cache: of how many people, those who asked last, the scored candidates are kept; they are used until the person
            does something or is erased.
    """

    policy: str = "top_n"
    policy_options: dict[str, Any] = Field(default_factory=dict)
    candidates: int = Field(default=100, ge=1, le=10_000)
    salt: str = ""
    mask_seen: bool = True
    rules: RulesConfig = RulesConfig()
    cache: int = Field(default=10_000, ge=0)

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


class Recommender:
    """Answers for one bundle. Its methods may be called by several threads.

    Attributes:
        learns: whether the policy learns from what people do with slates.

    Args:
        bundle: what to recommend from.
        config: how; by default the section `serve` of the parameters that the bundle was packaged with.
        clicks: what was clicked so far, a number an item of the catalogue, or where it is counted, for policies that
            learn from it.
        live: what users did later; by default nothing. It is asked for what came after the bundle's histories, which
            end at the manifest's ``data.feedback``.
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
        live: Later | None = None,
    ) -> None:
        packaged = section(bundle.manifest.get("params") or {}, "serve")
        self.bundle = bundle
        self.config = config or parse(ServeConfig, packaged, f"{bundle.id}: params.serve")
        self._policy = policies.find(self.config.policy)
        self._options = self.config.options()
        needs = self._policy.NEEDS | self._options.needs
        self.learns = bool(needs & LEARNT)
        self._side = Side.of(bundle, needs, self.config.policy, clicks)
        self._rules = Rules(bundle, self.config.rules)
        self._erased = erased or (lambda _: None)
        self._live = live
        self._cache: OrderedDict[str | None, Ready] = OrderedDict()
        self._keeping = Lock()
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
        """The policy's slate of `k` items for a person; see `Ask`.

        Raises:
            DataError: only some events of the history have a timestamp.
        """
        request_id = request_id or uuid4().hex
        return self.answer(Ask(user_id=user_id, history=history, k=k, exclude=exclude, request_id=request_id))

    def answer(self, ask: Ask) -> Recommendation:
        """The policy's slate for a person.

        Raises:
            DataError: only some events of the history have a timestamp.
        """
        ready = self.ready(ask)
        if ready is None:
            (ready,) = self.prepare([ask])
        if isinstance(ready, RecloopError):
            raise ready
        return self.slate(ready, ask)

    def ready(self, ask: Ask) -> Ready | None:
        """What was scored for this person before, if nothing has come since that would change it."""
        if not self._kept(ask):
            return None
        with self._keeping:
            found = self._cache.get(ask.user_id)
            if found is not None:
                self._cache.move_to_end(ask.user_id)
        if found is None or found.version != self._version(ask.user_id):
            return None
        return found

    def prepare(self, asks: Sequence[Ask]) -> list[Ready | RecloopError]:
        """Score the catalogue for all of them at once; in place of an answer, why there is none."""
        questions = [self._question(ask) for ask in asks]
        able = [one for one in questions if isinstance(one, _Question)]
        answers = iter(self._scored(able) if able else ())
        return [next(answers) if isinstance(one, _Question) else one for one in questions]

    def slate(self, ready: Ready, ask: Ask) -> Recommendation:
        """The policy's choice from what was scored."""
        seed = seed_of(ask.request_id, self.config.salt)
        if (made := ready.slates.get(ask.k)) is not None:
            return replace(made, seed=seed)
        given = self._side.candidates(ready.items, ready.scores, ready.history)
        draws = _Draws(seed)
        slate = self._policy.slate(given, ask.k, self._options, cast("np.random.Generator", draws))
        made = Recommendation(
            items=self._places(slate.items.tolist(), slate.scores.tolist()),
            fallback=ready.fallback,
            ignored=ready.ignored,
            propensities=slate.propensities.tolist(),
            exact=slate.exact,
            seed=seed,
            n_candidates=len(given),
            candidates=digest(self.bundle.vocabulary.decode(given.items), given.scores),
        )
        if not draws.used and not self.learns:
            ready.slates[ask.k] = made
        return made

    def similar(self, item_id: str, k: int = 10) -> list[Scored]:
        """The `k` items most like one item, which itself is left out.

        Raises:
            UnknownItemError: the catalogue does not hold the item.
        """
        index = self.index(item_id)
        with torch.inference_mode():
            scores = self.bundle.model.similar([index])[0]
            items, values = top_k(scores, min(k, len(scores)), [index])
        return self._places(items, values)

    def index(self, item_id: str) -> int:
        """The index of an item.

        Raises:
            UnknownItemError: the catalogue does not hold it.
        """
        index = self.bundle.vocabulary.index(item_id)
        if index == UNKNOWN:
            raise UnknownItemError(
                f"item_id '{item_id}' is not in the catalogue; ask for an item that the model knows."
            )
        return index

    def _kept(self, ask: Ask) -> bool:
        """Whether what is scored depends on nothing but who asks."""
        special = ask.history is not None or ask.exclude or ask.filters or ask.k > self.config.candidates
        return not special and self.config.cache > 0

    def _version(self, user_id: str | None) -> Hashable:
        """Changes with whatever may change what is known of a user."""
        if user_id is None:
            return None
        return self._erased(user_id), None if self._live is None else self._live.version(user_id)

    def _question(self, ask: Ask) -> "_Question | RecloopError":
        assert ask.k >= 1
        version = self._version(ask.user_id)  # before anything is read, so that what comes meanwhile is not missed
        try:
            context, ignored = self.context(ask)
            allowed = self._rules.allowed(ask.filters)
        except RecloopError as error:
            return error
        found = map(self.bundle.vocabulary.index, ask.exclude)
        return _Question(ask, version, context, ignored, [index for index in found if index != UNKNOWN], allowed)

    def _scored(self, questions: Sequence["_Question"]) -> list[Ready]:
        """The candidates of each, which are kept where they may be."""
        widths = [max(one.ask.k, self.config.candidates) for one in questions]
        ranked = rank(
            self.bundle.model,
            Contexts.concat([one.context for one in questions]),
            min(max(widths), len(self.bundle.vocabulary)),
            mask_seen=self.config.mask_seen,
            exclude=[one.excluded for one in questions],
            allowed=[one.allowed for one in questions],
        )
        found: list[Ready] = []
        for one, width, items, scores in zip(questions, widths, ranked.items, ranked.scores, strict=True):
            left = min(width, int((items != UNKNOWN).sum()))
            best, their = self._rules.apply(items[:left].copy(), scores[:left].copy())
            ask, history = one.ask, one.context.items
            ready = Ready(
                items=best,
                scores=their,
                history=history,
                fallback=self.fallback(ask, one.context),
                ignored=one.ignored,
                version=one.version,
            )
            if self._kept(ask):
                self._keep(ask.user_id, ready)
            found.append(ready)
        return found

    def _keep(self, user_id: str | None, ready: Ready) -> None:
        with self._keeping:
            self._cache[user_id] = ready
            self._cache.move_to_end(user_id)
            if len(self._cache) > self.config.cache:
                self._cache.popitem(last=False)

    def context(self, ask: Ask) -> tuple[Contexts, int]:
        """What is known of who asks, a batch of one context; and how many of its events lie outside the catalogue.

        Raises:
            DataError: only some events of the history have a timestamp.
        """
        user_id, history = ask.user_id, ask.history
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

    def fallback(self, ask: Ask, context: Contexts) -> Fallback | None:
        """Why nothing is known of who asks, as in `Recommendation`; `None` if their context holds events."""
        if len(context.items):
            return None
        if ask.history is not None or self._has_acted(ask.user_id):
            return "empty_history"
        return "nobody" if ask.user_id is None else "unknown_user"

    def _since(self, user_id: str | None) -> Sequence[Past]:
        """What a user did after the bundle's histories end, if it is known where that is."""
        if user_id is None or self._packaged_until is None or self._live is None:
            return ()
        return self._live.since(user_id, self._packaged_until)

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

    def _places(self, items: list[int], scores: list[float]) -> Places:
        return Places(map(Scored, self.bundle.vocabulary.decode(items), scores))


class _Question(NamedTuple):
    """An `Ask` as the model reads it."""

    ask: Ask
    version: Hashable
    context: Contexts
    ignored: int
    excluded: list[int]
    allowed: NDArray[np.bool_] | None


class _Draws:
    """A generator of random numbers that is made when it is first wanted, and knows whether it was."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.used = False

    def __getattr__(self, name: str) -> Any:
        if not self.used:
            self.used, self._rng = True, np.random.default_rng(self._seed)
        return getattr(self._rng, name)


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
