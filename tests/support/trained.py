"""A project folder as it is before evaluation: clean data, a split, parameters and trained models."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml

from recloop.data.bundles import MANIFEST, describe, identify
from recloop.data.splits import SplitConfig, split
from recloop.data.tables import canonical_interactions, write_json, write_parquet
from recloop.evaluation.contenders import fit
from recloop.models import storage

GROUPS = 3


class Trained:
    """60 people in three groups, each liking ten of thirty items; the newest fifth of the events is the test."""

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = root
        self.artifacts = root / "artifacts"
        self.values: dict[str, Any] = {
            "train": {"models": ["popularity", "ease"], "seed": 0, "device": "cpu"},
            "evaluate": {"device": "cpu"},
            "gate": {"samples": 1000, "floors": {"latency_p95_ms": None}},
        }
        self.params()
        self.world(seed)

    def world(self, seed: int) -> None:
        """Draw the data anew and split them."""
        random = np.random.default_rng(seed)
        users = random.integers(60, size=2400)
        ranks = np.minimum(random.geometric(0.2, size=2400) - 1, 9)
        group = np.where(random.random(2400) < 0.9, users % GROUPS, random.integers(GROUPS, size=2400))
        frame = pl.DataFrame(
            {
                "user_id": [f"u{user}" for user in users],
                "item_id": [f"i{item}" for item in group * 10 + ranks],
                "timestamp": np.sort(random.integers(0, 10_000_000, size=2400)),
            }
        ).unique(["user_id", "item_id"], keep="first", maintain_order=True)
        frame = canonical_interactions(frame, "test")
        parts = split(frame, SplitConfig(test_fraction=0.2))
        write_parquet(frame, self.artifacts / "clean/interactions.parquet")
        for name in ("train", "valid", "test"):
            write_parquet(getattr(parts, name), self.artifacts / f"split/{name}.parquet")
        write_json(parts.summary, self.artifacts / "split/split.json")
        self.parts = parts

    def params(self, **sections: Any) -> None:
        """Replace sections of `params.yaml`, keeping the keys that are not named."""
        for name, values in sections.items():
            self.values[name] = self.values[name] | values
        (self.root / "params.yaml").write_text(yaml.safe_dump(self.values), encoding="utf-8")

    def train(self, *names: str, without: Sequence[str] = ()) -> None:
        """Train models on the training part, as if some items did not exist."""
        known = self.parts.train.filter(~pl.col("item_id").is_in(without))
        for name in names:
            model, catalogue = fit(name, None, known, device=torch.device("cpu"))
            storage.save(storage.Trained(model=model, vocabulary=catalogue), self.artifacts / "models" / name)

    def add_categories(self) -> None:
        """Say which group each item belongs to."""
        ids = sorted({*self.parts.train["item_id"]})
        items = pl.DataFrame({"item_id": ids, "categories": [[f"g{int(name[1:]) // 10}"] for name in ids]})
        write_parquet(items, self.artifacts / "clean/items.parquet")

    def champion(self, name: str, *, served: storage.Trained | None = None) -> str:
        """Make the trained model `name` the champion, with other weights to serve if given; the id of its bundle."""
        made = self.root / "made"
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(self.artifacts / "models" / name, made)
        if served is not None:
            storage.write(storage.read(made), made, storage.EVALUATED)
            storage.write(served, made)
        files = describe(made)
        bundle = identify(files)
        folder = self.artifacts / "bundles" / bundle
        shutil.copytree(made, folder)
        write_json({"format": 1, "id": bundle, "model": name, "files": files}, folder / MANIFEST)
        pointer = {"bundle": bundle, "model": name, "train_window": self.parts.summary["train_window"]}
        write_json(pointer, self.artifacts / "champion/champion.json")
        return bundle
