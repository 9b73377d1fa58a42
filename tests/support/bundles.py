"""Small trained models and their bundles for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from recloop.columns import ITEM, USER
from recloop.data.tables import Attributes, canonical_interactions
from recloop.data.vocabulary import Vocabulary
from recloop.models import Model, catalogue, find
from recloop.models.base import FitContext, TrainingData
from recloop.models.storage import Trained
from recloop.serving.bundle import write_bundle
from tests.support.planted import quick, tables


def world(users: int = 37, items: int = 23, events: int = 700) -> pl.DataFrame:
    """Interactions of people with tastes: two thirds of each one's events lie in their half of the catalogue."""
    random = np.random.default_rng(5)
    user = random.integers(0, users, events)
    half = np.where(random.random(events) < 2 / 3, user % 2, random.integers(0, 2, events))
    item = 2 * (random.beta(1, 2, events) * (items // 2)).astype(int) + half
    return canonical_interactions(
        pl.DataFrame(
            {
                "user_id": [f"user-{number}" for number in user],
                "item_id": [f"item-{number}" for number in item],
                "timestamp": 1_000_000 + random.permutation(events),
                "value": random.integers(1, 6, events),
            }
        ),
        "world",
    )


def train(name: str, interactions: pl.DataFrame) -> tuple[Model, Vocabulary]:
    """A small model of this name, trained on `interactions` and all that models can need, and its catalogue."""
    kind, attributes = find(name), known(interactions)
    vocabulary = catalogue(kind, interactions, attributes.items)
    model = kind(kind.Config(**quick(name)), len(vocabulary))
    data = TrainingData.from_tables(interactions, vocabulary, attributes)
    model.fit(data, FitContext(device=torch.device("cpu")))
    return model, vocabulary


def known(interactions: pl.DataFrame) -> Attributes:
    """The optional tables of the world."""
    return tables(Vocabulary(interactions[ITEM]).ids.to_list(), Vocabulary(interactions[USER]).ids.to_list())


def popularity_bundle(folder: Path, interactions: pl.DataFrame, **record: Any) -> Path:
    """A bundle of the most popular items."""
    return packaged(folder, "popularity", interactions, **record)


def packaged(folder: Path, name: str, interactions: pl.DataFrame, **record: Any) -> Path:
    """A bundle of the model of this name."""
    model, vocabulary = train(name, interactions)
    write_bundle(folder, trained=Trained(model=model, vocabulary=vocabulary), interactions=interactions, record=record)
    return folder
