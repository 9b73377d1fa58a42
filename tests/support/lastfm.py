"""Small tables in the form of the Last.FM benchmark data."""

from pathlib import Path

import numpy as np
import polars as pl

PEOPLE, ARTISTS = 60, 20


def write_lastfm(folder: Path) -> set[tuple[int, int]]:
    """Write the three tables into the new `folder`; the pairs of a person and an artist listened to.

    Even people listen to most even artists and few odd ones, odd people the reverse; the graph gives the artists' kind.
    """
    folder.mkdir(parents=True)
    chance = np.where(np.arange(PEOPLE)[:, None] % 2 == np.arange(ARTISTS) % 2, 0.8, 0.1)
    users, items = np.nonzero(np.random.default_rng(0).random((PEOPLE, ARTISTS)) < chance)
    entities = [100 + item for item in range(ARTISTS)]
    tables = {
        "interactions": {"user_id": users, "item_id": items, "weight": np.ones(len(users), dtype=np.int64)},
        "item_entity": {"item_id": list(range(ARTISTS)), "entity_id": entities},
        "kg": {"head": entities, "relation": [0] * ARTISTS, "tail": [item % 2 for item in range(ARTISTS)]},
    }
    for name, columns in tables.items():
        pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet")
    return set(zip(users.tolist(), items.tolist(), strict=True))
