"""Small trained models and their bundles for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from recloop.columns import ITEM, USER
from recloop.data.sequences import Contexts
from recloop.data.tables import canonical_interactions
from recloop.data.vocabulary import Vocabulary
from recloop.models import Model, find
from recloop.models.base import FitContext, TrainingData
from recloop.serving.bundle import write_bundle
from tests.support.project import SMALL


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
    """A small model of this name, trained on `interactions`, and its catalogue."""
    vocabulary = Vocabulary(interactions[ITEM])
    kind = find(name)
    model = kind(kind.Config(**SMALL["train"].get(name, {})), len(vocabulary))
    histories = Contexts.from_frame(interactions, Vocabulary(interactions[USER]), vocabulary)
    model.fit(TrainingData(histories=histories, n_items=len(vocabulary)), FitContext(device=torch.device("cpu")))
    return model, vocabulary


def popularity_bundle(folder: Path, interactions: pl.DataFrame, **record: Any) -> Path:
    """A bundle of the most popular items."""
    model, vocabulary = train("popularity", interactions)
    write_bundle(folder, model=model, vocabulary=vocabulary, seed=0, interactions=interactions, record=record)
    return folder
