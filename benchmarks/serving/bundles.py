"""Bundles of MovieLens-1M for benchmarks of the service: real size, trained just long enough to be a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import torch

from benchmarks.published.protocols import source
from recloop.columns import ITEM, USER
from recloop.data.tables import Attributes, canonical_interactions
from recloop.models import catalogue, find
from recloop.models.base import FitContext, TrainingData
from recloop.models.storage import Trained
from recloop.serving.bundle import write_bundle

SHORT: dict[str, dict[str, Any]] = {"sasrec": {"epochs": 1}}
"""Parameters that shorten training; what a model has learned does not change how long it takes to answer."""


def movielens() -> pl.DataFrame:
    """All events of MovieLens-1M: 6,040 people and 3,416 items in 999,611 events."""
    frame = pl.read_parquet(source("ml-1m/interactions.parquet"))
    if "timestamp" not in frame.columns:
        frame = frame.rename({"position": "timestamp"})
    return canonical_interactions(frame.with_columns(pl.col(USER, ITEM).cast(pl.String)), "ml-1m")


def bundle(folder: Path, name: str, interactions: pl.DataFrame, serve: Mapping[str, Any] | None = None) -> Path:
    """A bundle of the model `name` that says that it knows the store's events up to the first.

    Args:
        folder: where to.
        name: of the model.
        interactions: to learn from; its people are the known users.
        serve: the section `serve` of the parameters.
    """
    torch.manual_seed(0)
    kind = find(name)
    vocabulary = catalogue(kind, interactions, None)
    model = kind(kind.Config(**SHORT.get(name, {})), len(vocabulary))
    data = TrainingData.from_tables(interactions, vocabulary, Attributes())
    model.fit(data, FitContext(device=torch.device("cpu"), seed=0))
    record = {"params": {"serve": dict(serve or {})}, "data": {"feedback": 0}}
    trained = Trained(model=model, vocabulary=vocabulary)
    write_bundle(folder, trained=trained, interactions=interactions, record=record)
    return folder
