"""Beginning with what the champion has learned, where that is sound.

A champion has learned all events until the end of its training window. It may be begun with only if each of them is in
the training part now: what validation or test will ask must not have been learned, nor what is no longer in the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from recloop.columns import ITEM, TIME, USER
from recloop.data.bundles import verify
from recloop.data.sequences import Contexts
from recloop.data.splits import SplitConfig
from recloop.data.tables import read_parquet
from recloop.data.vocabulary import Vocabulary
from recloop.errors import BundleError, DataError, ModelError
from recloop.models import storage
from recloop.models.base import Model

_AGAIN = "run 'dvc repro --single-item --force pretrained' to choose again what models begin with"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a model begins with.

    Attributes:
        id: of the trained model that it comes from.
        tensors: what that one learned.
        rows: int64 (I,), for each item its index in the catalogue of that one; `UNKNOWN` for new items.
        private: whether it was trained privately.
    """

    id: str
    tensors: Mapping[str, Tensor]
    rows: NDArray[np.int64]
    private: bool = False

    @classmethod
    def read(cls, bundle: Path, model: Model, items: Vocabulary) -> "Start":
        """What `model`, whose catalogue is `items`, takes from a bundle.

        Raises:
            BundleError: the bundle is missing or damaged.
            ModelError: it holds another model, or one of other parameters.
        """
        if not bundle.is_dir():
            raise BundleError(f"{bundle}, which {model.name()} is to begin with, does not exist; {_AGAIN}.")
        manifest = verify(bundle)
        before = storage.evaluated(bundle, model.device)
        found, known = before.model, before.vocabulary
        if type(found) is not type(model) or found.config != model.config:
            raise ModelError(f"{bundle} does not hold {model.name()} with the parameters of now; {_AGAIN}.")
        private = manifest.get("privacy") is not None
        return cls(id=manifest["id"], tensors=found.tensors(), rows=known.encode(items.ids), private=private)


def objection(
    bundle: Path, model: Model, split: Mapping[str, Any], interactions: pl.DataFrame, *, private: bool = False
) -> str | None:
    """Why `model` must not begin with the champion of its kind, as part of a sentence; `None` if it may.

    Args:
        bundle: the champion's.
        model: of the parameters of now.
        split: what the stage `split` says of the parts.
        interactions: all events, canonical.
        private: whether `model` is to be trained privately.

    Raises:
        BundleError: the bundle is missing or damaged.
    """
    manifest = verify(bundle)
    if model.no_warm_start is not None:
        return model.no_warm_start
    if manifest.get("config") != model.config.model_dump(mode="json"):
        return "its parameters are others"
    if private and manifest.get("privacy") is None:
        return "it was trained without privacy"
    why = _ahead(manifest, split)
    return "it knows events that the data no longer hold" if why is None and not _held(bundle, interactions) else why


def _ahead(manifest: Mapping[str, Any], split: Mapping[str, Any]) -> str | None:
    """Why the champion may have learned what is asked now; `None` if it has not."""
    try:
        before = SplitConfig.model_validate(manifest["params"].get("split") or {}).strategy
        learned, now = (datetime.fromisoformat(window[1]) for window in (_learned(manifest), split["train_window"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return "its manifest does not say what it has learned from"
    if "leave_last_out" in {before, split["strategy"]}:
        return "only a temporal split keeps what it has learned apart from what is asked"
    return "it has learned events that validation or test may ask" if learned > now else None


def _learned(manifest: Mapping[str, Any]) -> Any:
    """First and last time of what the evaluated weights of a bundle have learned from."""
    data = manifest["data"]
    return data.get("evaluated_window", data["train_window"])


def _held(bundle: Path, interactions: pl.DataFrame) -> bool:
    """Whether all events of the histories in a bundle are among `interactions`."""
    try:
        users, items = (Vocabulary(read_parquet(bundle / f"{name}.parquet")[key]) for name, key in _TABLES)
        histories = Contexts.from_arrays(load_file(bundle / "histories.safetensors"))
        known = pl.DataFrame(
            {
                USER: users.ids.gather(histories.rows),
                ITEM: items.ids.gather(histories.items),
                TIME: histories.timestamps,
            }
        )
    except (DataError, SafetensorError, OSError, LookupError, TypeError) as error:
        raise BundleError(
            f"Bundle {bundle} is not complete ({' '.join(str(error).split())}); package it again."
        ) from None
    held = interactions.select(USER, ITEM, pl.col(TIME).dt.epoch("us"))
    return known.join(held, on=[USER, ITEM, TIME], how="anti").is_empty()


_TABLES = (("users", USER), ("vocabulary", ITEM))
