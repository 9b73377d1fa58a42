"""A bundle: everything that is needed to recommend, in one folder, without training data and without pickle.

| file                     | holds                                                                                |
| ------------------------ | ------------------------------------------------------------------------------------ |
| `manifest.json`          | what it is and where it comes from; size and checksum of every other file            |
| `weights.safetensors`, `vocabulary.parquet`, `model.json` | the trained model, as `models.storage` writes it    |
| `evaluated-*`            | the same of the model that was evaluated, where it is not the one that serves        |
| `items.parquet`          | attributes of the catalogue's items; row i describes item i                          |
| `users.parquet`          | column `user_id`, the known users in sorted order; the row is the user's number      |
| `histories.safetensors`  | the known users' whole histories in compressed rows, as `data.sequences.Contexts`    |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import recloop
from recloop.columns import ITEM, USER
from recloop.data.bundles import FORMAT, MANIFEST, describe, identify, replacing, verify
from recloop.data.sequences import Contexts
from recloop.data.tables import read_parquet, write_json, write_parquet
from recloop.data.vocabulary import Vocabulary
from recloop.errors import BundleError, DataError, ModelError
from recloop.models import storage
from recloop.models.base import Model
from recloop.models.storage import Trained

ITEMS = "items.parquet"
USERS = "users.parquet"
HISTORIES = "histories.safetensors"
LIBRARIES = ("numpy", "polars", "pyarrow", "safetensors", "scipy", "torch")


def packaged_until(manifest: Mapping[str, Any]) -> int | None:
    """The `seq` of the store's last event that a bundle's histories hold; `None` if that is not known."""
    return manifest.get("data", {}).get("feedback")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        manifest: the content of `manifest.json`.
        model: ready to score.
        vocabulary: the catalogue's item ids.
        users: the known users' ids.
        histories: one context a known user, with all events known when the bundle was packaged.
        items: one row an item of the catalogue: `item_id` and whatever attributes the data has.
    """

    manifest: dict[str, Any]
    model: Model
    vocabulary: Vocabulary
    users: Vocabulary
    histories: Contexts
    items: pl.DataFrame

    @property
    def id(self) -> str:
        """The bundle's id; see `data.bundles`."""
        return self.manifest["id"]

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | None = None) -> Self:
        """Verify and read a bundle; the model goes to `device`, the CPU unless given.

        Raises:
            BundleError: the folder is no whole bundle of a format that this version reads; the message names the file.
        """
        folder = Path(folder)
        manifest = verify(folder)
        try:
            model, vocabulary = storage.load(folder, device)
            bundle = cls(
                manifest=manifest,
                model=model,
                vocabulary=vocabulary,
                users=Vocabulary(read_parquet(folder / USERS)[USER]),
                histories=Contexts.from_arrays(load_file(folder / HISTORIES)),
                items=read_parquet(folder / ITEMS),
            )
        except (ModelError, DataError) as error:
            raise BundleError(f"Bundle {folder} cannot be used: {error}") from None
        except (SafetensorError, OSError, TypeError, pl.exceptions.PolarsError) as error:
            raise BundleError(
                f"Bundle {folder} is not complete ({' '.join(str(error).split())}); package it again."
            ) from None
        if len(bundle.users) != len(bundle.histories) or len(bundle.vocabulary) != bundle.items.height:
            raise BundleError(
                f"Bundle {folder}: its users, histories and items do not belong together; package it again."
            )
        return bundle


def write_bundle(
    folder: Path,
    *,
    trained: Trained,
    evaluated: Trained | None = None,
    interactions: pl.DataFrame,
    items: pl.DataFrame | None = None,
    people: pl.DataFrame | None = None,
    record: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a bundle to `folder` in one step, replacing what is there, and return its manifest.

    Equal arguments give equal bytes. After an error the old folder is still whole.

    Args:
        folder: where to.
        trained: the model that serves.
        evaluated: the one of the same kind that was evaluated, where that is another.
        interactions: canonical interactions, all that are known; their users become the known users, with those of
            their events that lie in the catalogue.
        items: canonical items table, if there is one; only the catalogue's items are kept.
        people: canonical users table, if there is one; the known users' features are kept, not the table.
        record: where the bundle comes from (``git_revision``, ``data``, ``params``, ``metrics`` ...), for the manifest.
    """
    model, vocabulary = trained.model, trained.vocabulary
    users = Vocabulary(interactions[USER])
    histories = Contexts.from_frame(
        interactions, users, vocabulary, people if "user_features" in model.needs | model.takes else None
    )
    with replacing(folder) as scratch:
        storage.write(trained, scratch)
        if evaluated is not None:
            storage.write(evaluated, scratch, storage.EVALUATED)
        write_parquet(_attributes(items, vocabulary), scratch / ITEMS)
        write_parquet(users.ids.to_frame(USER), scratch / USERS)
        save_file(histories.arrays(), scratch / HISTORIES)
        files = describe(scratch)
        manifest = {
            **(record or {}),
            "format": FORMAT,
            "id": identify(files),
            "model": model.name(),
            "config": model.config.model_dump(mode="json"),
            "seed": trained.seed,
            "began_with": trained.began_with,
            "privacy": trained.privacy,
            "n_items": len(vocabulary),
            "n_users": len(users),
            "libraries": {"recloop": recloop.__version__, **{name: _version(name) for name in LIBRARIES}},
            "files": files,
        }
        write_json(manifest, scratch / MANIFEST)
    return manifest


def _version(name: str) -> str:
    """The public version; local parts such as ``+cpu`` depend on the machine."""
    return version(name).partition("+")[0]


def _attributes(items: pl.DataFrame | None, vocabulary: Vocabulary) -> pl.DataFrame:
    """One row an item of the catalogue, in its order; attributes are null where an item has none."""
    catalogue = vocabulary.ids.to_frame(ITEM)
    if items is None:
        return catalogue
    return catalogue.join(items.unique(ITEM, keep="first"), on=ITEM, how="left", maintain_order="left")
