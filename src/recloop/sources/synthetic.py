"""A made-up world whose truth is known, for tests, simulation and demonstrations without data of one's own.

Shapes: U users, I items, D dimensions of taste, C categories, B questions, S sessions, E events.

A user u likes an item i at time t by ``a(u, i, t) = w * sqrt(D) * <p_u(t), q_i> + b_i``: q_i (D,) is the item's place,
a unit vector near that of its category; p_u(t) (D,) is the user's taste, a unit vector near one that all users of a
group share; b_i = -s * ln(rank) is popularity, which gives choices by Zipf's law with exponent s where tastes play no
part. A user chooses item i with probability proportional to exp(a) among the items that have appeared by t. Within a
session the taste leans towards one direction, so that what comes next depends on what came before. Cold items appear
late. At `drift_at` all tastes move: ``p_u = (1 - d) * before + d * after``, with new groups' tastes and new deviations
from them, so that both each person and the population want something else.

Everything follows from the configuration and its seed; pure numpy, no table of U x I is ever held.
"""
# ruff: noqa: N802, N803, N806 - names carry shapes

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from recloop import config
from recloop.columns import CATEGORIES, EVENT, HEAD, ITEM, ITEM_ENTITY, RELATION, TAIL, TIME, TITLE, USER, VALUE
from recloop.data.tables import TIMESTAMP, Tables, canonical_attributes, canonical_interactions, canonical_knowledge
from recloop.sources import Batch, SourceContext

VARIANTS: tuple[str, ...] = ()

DAY = 86_400_000_000
SECOND = 1_000_000
_CELLS = 1 << 18

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Config(config.Config):
    """The world.

    Attributes:
        seed: of every draw.
        users, items, categories, groups: how many.
        start, days: the time that the events cover.
        sessions: mean number of sessions of a user; single users differ by a log-normal factor.
        session_length: mean number of choices in a session.
        dimensions: of tastes.
        taste: w, how much taste counts; 0 makes everybody alike.
        popularity: s, the exponent of Zipf's law.
        focus: how far a session leans towards its own direction.
        cold_items: share of the items that appear late.
        drift_at: when tastes move, as a share of the time covered; `None` for never.
        drift_strength: d, how far they move; 1 forgets the old tastes.
        repeats: whether a user may choose the same item again; if not, a repeated choice leaves no event.
    """

    seed: config.Seed = 0
    users: int = Field(default=500, ge=1)
    items: int = Field(default=300, ge=2)
    categories: int = Field(default=8, ge=1)
    groups: int = Field(default=4, ge=1)
    start: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    days: float = Field(default=120, gt=0)
    sessions: float = Field(default=6, gt=0)
    session_length: float = Field(default=5, ge=1)
    dimensions: int = Field(default=8, ge=1)
    taste: float = Field(default=2.0, ge=0)
    popularity: float = Field(default=0.8, ge=0)
    focus: float = Field(default=0.5, ge=0)
    cold_items: float = Field(default=0.1, ge=0, lt=1)
    drift_at: float | None = Field(default=None, ge=0, le=1)
    drift_strength: float = Field(default=1.0, ge=0, le=1)
    repeats: bool = False


def read(config: Config, context: SourceContext) -> Batch:
    """Make a world and let its people choose."""
    return Batch(name="synthetic", tables=World(config).tables(context))


@dataclass(frozen=True)
class World:
    """The truth: who likes what, and when. Users and items are given by index, times in microseconds since 1970 (UTC).

    Args:
        config: everything follows from it.
    """

    config: Config

    @cached_property
    def start(self) -> int:
        """The first moment, in microseconds."""
        naive = self.config.start.tzinfo is None
        start = self.config.start.replace(tzinfo=UTC) if naive else self.config.start
        return int(start.timestamp()) * SECOND

    @cached_property
    def end(self) -> int:
        """The first moment after the time covered."""
        return self.start + int(self.config.days * DAY)

    @cached_property
    def drift_time(self) -> int | None:
        """When tastes move, if they do."""
        share = self.config.drift_at
        return None if share is None else self.start + int(share * (self.end - self.start))

    @cached_property
    def user_ids(self) -> list[str]:
        """The id of each user."""
        return [f"u{index:06d}" for index in range(self.config.users)]

    @cached_property
    def item_ids(self) -> list[str]:
        """The id of each item."""
        return [f"i{index:06d}" for index in range(self.config.items)]

    @cached_property
    def category(self) -> Ints:
        """The category of each item, int64 (I,)."""
        return self._rng("category").integers(self.config.categories, size=self.config.items)

    @cached_property
    def group(self) -> Ints:
        """The group of each user, int64 (U,)."""
        return self._rng("group").integers(self.config.groups, size=self.config.users)

    @cached_property
    def places_ID(self) -> Floats:
        """The place of each item, unit vectors (I, D)."""
        rng = self._rng("places")
        centres_CD = _unit(rng.standard_normal((self.config.categories, self.config.dimensions)))
        return _unit(centres_CD[self.category] + 0.6 * _directions(rng, self.config.items, self.config.dimensions))

    @cached_property
    def popularity(self) -> Floats:
        """b, the liking that everybody shares, (I,)."""
        rank = 1 + self._rng("popularity").permutation(self.config.items)
        return -self.config.popularity * np.log(rank)

    @cached_property
    def appears(self) -> Ints:
        """When each item becomes available, int64 (I,); cold ones in the second half of the time covered."""
        rng = self._rng("appears")
        cold = rng.permutation(self.config.items) < int(self.config.cold_items * self.config.items)
        late = self.start + (rng.uniform(0.5, 1, self.config.items) * (self.end - self.start)).astype(np.int64)
        return np.where(cold, late, self.start)

    def tastes(self, users: ArrayLike, times: ArrayLike) -> Floats:
        """p, the tastes of users (B,) at times (B,) or one time for all, (B, D)."""
        users = np.asarray(users, dtype=np.int64)
        before = self._before_UD[users]
        if self.drift_time is None:
            return before
        moved = np.broadcast_to(np.asarray(times, dtype=np.int64) >= self.drift_time, users.shape)
        share = np.where(moved, self.config.drift_strength, 0.0)[:, None]
        return (1 - share) * before + share * self._after_UD[users]

    def affinity(self, users: ArrayLike, times: ArrayLike) -> Floats:
        """a, how much users (B,) like every item at times (B,) or one time for all, (B, I); -inf before it appears.

        The best possible ranking of the items for a user sorts by it.
        """
        times = np.asarray(times, dtype=np.int64)
        return self.liking(self.tastes(users, times), np.broadcast_to(times, np.shape(users)))

    def choose(self, users: ArrayLike, times: ArrayLike, rng: np.random.Generator) -> Ints:
        """Draw one item for each user (B,) with probability proportional to exp(affinity), int64 (B,)."""
        return draw(self.affinity(users, times), rng)

    def ratings(self, users: ArrayLike, items: ArrayLike, times: ArrayLike, rng: np.random.Generator) -> Floats:
        """Ratings from 1 to 5 that users (B,) give items (B,): 3.5 + 1.5 * <p, q> + noise, rounded, (B,)."""
        match = np.sum(self.tastes(users, times) * self.places_ID[np.asarray(items, dtype=np.int64)], axis=1)
        return np.clip(np.round(3.5 + 1.5 * match + 0.5 * rng.standard_normal(match.shape)), 1, 5)

    def tables(self, context: SourceContext) -> Tables:
        """What an observer of the world sees."""
        origin = "synthetic"
        items, users = pl.Series(ITEM, self.item_ids), pl.Series(USER, self.user_ids)
        categories = pl.Series(CATEGORIES, self.category).cast(pl.String)
        attributes = pl.DataFrame([items, ("Item " + items.str.slice(1)).alias(TITLE), categories])
        triples = pl.DataFrame({HEAD: ITEM_ENTITY + items, TAIL: "category:" + categories}).with_columns(
            pl.lit("category").alias(RELATION)
        )
        return Tables(
            interactions=canonical_interactions(self.interactions(context), origin),
            items=canonical_attributes(attributes.with_columns(pl.concat_list(CATEGORIES)), ITEM, origin),
            users=canonical_attributes(pl.DataFrame([users, pl.Series("group", self.group)]), USER, origin),
            knowledge=canonical_knowledge(triples, origin),
        )

    def interactions(self, context: SourceContext) -> pl.DataFrame:
        """Let every user live through their sessions."""
        rng = self._rng("events")
        users_E, times_E, leanings_SD, session_E = self.sessions(rng)
        rows = max(1, _CELLS // self.config.items)
        parts = [slice(first, first + rows) for first in range(0, len(users_E), rows)]
        chosen: list[Ints] = [np.empty(0, dtype=np.int64)]
        for part in context.progress(parts, "living through sessions"):
            tastes = self.tastes(users_E[part], times_E[part]) + self.config.focus * leanings_SD[session_E[part]]
            chosen.append(draw(self.liking(tastes, times_E[part]), rng))
        items_E = np.concatenate(chosen)
        frame = pl.DataFrame(
            {
                USER: pl.Series(self.user_ids, dtype=pl.String).gather(users_E),
                ITEM: pl.Series(self.item_ids, dtype=pl.String).gather(items_E),
                TIME: pl.Series(times_E).cast(TIMESTAMP),
                EVENT: pl.repeat("rating", len(items_E), eager=True),
                VALUE: pl.Series(self.ratings(users_E, items_E, times_E, rng), dtype=pl.Float32),
            }
        )
        kept = [USER, ITEM, TIME] if self.config.repeats else [USER, ITEM]
        return frame.sort(TIME, maintain_order=True).unique(kept, keep="first", maintain_order=True)

    def sessions(self, rng: np.random.Generator) -> tuple[Ints, Ints, Floats, Ints]:
        """Draw when everybody chooses: users (E,), times (E,), leanings (S, D) and the session of each choice (E,).

        A session's choices stand together in time order; sessions are in no order. A taste in a session is the user's
        plus `focus` times the session's leaning.
        """
        activity_U = np.exp(0.5 * rng.standard_normal(self.config.users) - 0.125)
        user_S = np.repeat(np.arange(self.config.users), rng.poisson(self.config.sessions * activity_U))
        first_S = rng.integers(self.start, self.end, len(user_S))
        length_S = rng.geometric(1 / self.config.session_length, len(user_S))
        session_E = np.repeat(np.arange(len(user_S)), length_S)
        steps_E = 1 + np.round(rng.exponential(90, len(session_E))).astype(np.int64)
        elapsed_E = np.cumsum(steps_E)
        begun_S = np.cumsum(length_S) - length_S
        within_E = elapsed_E - (elapsed_E - steps_E)[begun_S][session_E]
        times_E = (first_S // SECOND)[session_E] * SECOND + within_E * SECOND
        kept = times_E < self.end
        leanings_SD = _directions(rng, len(user_S), self.config.dimensions)
        return user_S[session_E][kept], times_E[kept], leanings_SD, session_E[kept]

    def liking(self, tastes_BD: Floats, times_B: Ints) -> Floats:
        """How much people with these tastes (B, D) like every item at times (B,), (B, I); -inf before it appears."""
        liking_BI = self.config.taste * np.sqrt(self.config.dimensions) * (tastes_BD @ self.places_ID.T)
        return np.where(self.appears <= times_B[:, None], liking_BI + self.popularity, -np.inf)

    @cached_property
    def _before_UD(self) -> Floats:
        return self._tastes("before")

    @cached_property
    def _after_UD(self) -> Floats:
        return self._tastes("after")

    def _tastes(self, purpose: str) -> Floats:
        rng = self._rng(purpose)
        shared_D = _directions(rng, 1, self.config.dimensions)
        centres_GD = shared_D + _directions(rng, self.config.groups, self.config.dimensions)
        return _unit(centres_GD[self.group] + _directions(rng, self.config.users, self.config.dimensions))

    def _rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for every part of the world, so that changing one leaves the others as they are."""
        return np.random.default_rng([self.config.seed, *purpose.encode()])


def draw(liking_BI: Floats, rng: np.random.Generator) -> Ints:
    """One item a row from the softmax: the first whose share, added to those before it, exceeds a uniform number."""
    shares_BI = np.exp(liking_BI - liking_BI.max(axis=1, keepdims=True))
    sums_BI = np.cumsum(shares_BI, axis=1)
    return np.sum(sums_BI <= rng.random((len(sums_BI), 1)) * sums_BI[:, -1:], axis=1)


def _directions(rng: np.random.Generator, rows: int, dimensions: int) -> Floats:
    return _unit(rng.standard_normal((rows, dimensions)))


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
