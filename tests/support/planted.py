"""A small world for tests of models: people who mostly stay in one of three clusters of items, unequally popular."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recloop.data.features import Features
from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.models.base import TrainingData

CLUSTERS, ITEMS_EACH, USERS_EACH = 3, 8, 40
N_ITEMS = CLUSTERS * ITEMS_EACH
GENRES = ("drama", "comedy", "western")


def quick(name: str) -> dict[str, Any]:
    """Parameters with which a model learns a small world within seconds: `QUICK` of its own test module."""
    return getattr(importlib.import_module(f"tests.models.test_{name}"), "QUICK", {})


def tables(items: Sequence[str], users: Sequence[str]) -> Attributes:
    """All that is known of items and people besides interactions; every third of them is alike."""
    kinds = [GENRES[number % CLUSTERS] for number in range(len(items))]
    return Attributes(
        items=pl.DataFrame(
            {
                "item_id": items,
                "title": [f"{kind} number {number}" for number, kind in enumerate(kinds)],
                "categories": [[kind] for kind in kinds],
                "vector": [[float(GENRES.index(kind) == axis) for axis in range(CLUSTERS)] for kind in kinds],
            }
        ).sort("item_id"),
        users=pl.DataFrame(
            {"user_id": users, "group": [GENRES[number % CLUSTERS] for number in range(len(users))]}
        ).sort("user_id"),
        knowledge=pl.DataFrame(
            {"head": [f"item:{item}" for item in items], "relation": ["genre"] * len(items), "tail": kinds}
        ),
    )


def planted(seed: int = 7) -> list[list[int]]:
    """Histories of the people of the world; person u belongs to cluster u modulo 3."""
    random = np.random.default_rng(seed)
    histories = []
    for user in range(CLUSTERS * USERS_EACH):
        own = user % CLUSTERS * ITEMS_EACH + random.permutation(ITEMS_EACH)[: random.integers(4, 7)]
        noise = random.integers(0, N_ITEMS, random.integers(0, 2))
        histories.append(list(dict.fromkeys([*own.tolist(), *noise.tolist()])))
    return histories


def rated(seed: int = 7) -> list[list[int]]:
    """Histories of people who also try, and dislike, about as much outside their cluster: for models of ratings."""
    random = np.random.default_rng(seed)
    histories = []
    for history in planted(seed):
        own = [item for item in history if cluster(item) == cluster(history[0])]
        others = [item for item in random.permutation(N_ITEMS).tolist() if cluster(item) != cluster(history[0])]
        histories.append([own[0], *random.permutation(own[1:] + others[:5]).tolist()])
    return histories


def cluster(item: int) -> int:
    """Which cluster an item belongs to."""
    return item // ITEMS_EACH % CLUSTERS


def contexts(histories: Sequence[Sequence[int]]) -> Contexts:
    """Histories with ratings (5 or 4.5 within the cluster of the first item, 2 outside) and features of the people."""
    plain = Contexts.from_lists(histories)
    firsts = np.array([history[0] if history else 0 for history in histories], dtype=np.int64)
    alike = np.array([cluster(item) for item in plain.items]) == np.array([cluster(i) for i in firsts[plain.rows]])
    people = pl.DataFrame(
        {"group": [GENRES[cluster(first)] if rows else None for first, rows in zip(firsts, histories, strict=True)]}
    )
    features = Features.from_frame(people.cast(pl.String)) if len(histories) else Features.empty(0)
    values = np.where(alike, 5.0 - 0.5 * (plain.timestamps % 2), 2.0).astype(np.float32)
    return replace(plain, values=values, features=features)


def data(histories: Sequence[Sequence[int]], n_items: int = N_ITEMS) -> TrainingData:
    """Everything that any model can need."""
    ids = Vocabulary([f"{item:03}" for item in range(n_items)])
    genres = [GENRES[cluster(item)] for item in range(n_items)]
    items = pl.DataFrame(
        {
            "title": [f"{genre} number {item}" for item, genre in enumerate(genres)],
            "categories": [[genre] for genre in genres],
            "year": [1990 + item for item in range(n_items)],
            "vector": [[float(cluster(item) == axis) for axis in range(CLUSTERS)] for item in range(n_items)],
        }
    )
    triples = pl.DataFrame(
        {
            "head": [f"item:{name}" for name in ids.ids],
            "relation": ["genre"] * n_items,
            "tail": genres,
        }
    )
    return TrainingData(
        histories=contexts(histories),
        n_items=n_items,
        items=items,
        knowledge=Knowledge.from_frame(triples, ids),
    )
