"""A trained model as a folder: tensors, the catalogue's ids and the configuration; no pickle.

| file                  | holds                                                      |
| --------------------- | ---------------------------------------------------------- |
| `weights.safetensors` | `Model.tensors()`                                          |
| `vocabulary.parquet`  | column `item_id`; the row is the item's index              |
| `model.json`          | `model` (its name), `config`, `n_items`, `seed`, `began_with` |

`began_with` is the id of the trained model that the training began with, or null.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recloop.columns import ITEM
from recloop.config import parse
from recloop.data.bundles import replacing
from recloop.data.tables import read_json, read_parquet, write_json, write_parquet
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ConfigError, DataError, ModelError
from recloop.models import find
from recloop.models.base import Model

WEIGHTS = "weights.safetensors"
VOCABULARY = "vocabulary.parquet"
DESCRIPTION = "model.json"


def save(model: Model, vocabulary: Vocabulary, folder: Path, *, seed: int = 0, began_with: str | None = None) -> None:
    """Write `model` to `folder`, replacing what is there only when all files are complete.

    Args:
        model: a trained model.
        vocabulary: the catalogue that the model's item indices mean.
        folder: where to; made if missing.
        seed: what the model was trained with, for the record.
        began_with: id of the trained model that its training began with, for the record; `None` for fresh values.
    """
    assert len(vocabulary) == model.n_items, f"{len(vocabulary)} ids for {model.n_items} items"
    with replacing(folder) as scratch:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.tensors().items()}
        save_file(tensors, scratch / WEIGHTS)
        write_parquet(vocabulary.ids.to_frame(ITEM), scratch / VOCABULARY)
        write_json(
            {
                "model": model.name(),
                "config": model.config.model_dump(mode="json"),
                "n_items": model.n_items,
                "seed": seed,
                "began_with": began_with,
            },
            scratch / DESCRIPTION,
        )


def load(folder: Path, device: torch.device | None = None) -> tuple[Model, Vocabulary]:
    """The model and catalogue that `save` wrote to `folder`, on `device` (the CPU unless given).

    Raises:
        ModelError: a file is missing or damaged, or the files do not belong together; the file is named.
    """
    description = _description(folder / DESCRIPTION)
    vocabulary = _vocabulary(folder / VOCABULARY)
    kind = find(str(description["model"]))
    try:
        config = parse(kind.Config, description["config"], f"{folder / DESCRIPTION}: config")
    except ConfigError as error:
        raise ModelError(str(error)) from None
    if len(vocabulary) != description["n_items"]:
        raise ModelError(
            f"{folder / VOCABULARY} holds {len(vocabulary)} items, but {DESCRIPTION} says {description['n_items']}; "
            "train the model again."
        )
    model = kind(config, len(vocabulary), device)
    path = folder / WEIGHTS
    try:
        model.load_tensors(load_file(path))
    except FileNotFoundError:
        raise _missing(path) from None
    except (SafetensorError, OSError, ModelError) as error:
        raise _damaged(path, error) from None
    return model, vocabulary


def _description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _missing(path)
    try:
        description = read_json(path)
        return {key: description[key] for key in ("model", "config", "n_items", "seed")}
    except (DataError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None


def _vocabulary(path: Path) -> Vocabulary:
    if not path.is_file():
        raise _missing(path)
    try:
        return Vocabulary(read_parquet(path)[ITEM])
    except (DataError, LookupError) as error:
        raise _damaged(path, error) from None


def _missing(path: Path) -> ModelError:
    return ModelError(f"{path} does not exist; train the model, or correct the folder.")


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split()).rstrip(".")
    return ModelError(f"{path} is damaged ({type(error).__name__}: {reason}); train the model again.")
