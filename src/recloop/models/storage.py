"""A trained model as a folder: tensors, the catalogue's ids and the configuration; no pickle.

| file                  | holds                                                      |
| --------------------- | ---------------------------------------------------------- |
| `weights.safetensors` | `Model.tensors()`                                          |
| `vocabulary.parquet`  | column `item_id`; the row is the item's index              |
| `model.json`          | `model` (its name), `config`, `n_items`, `seed`, `began_with`, `passes`, `privacy` |

`began_with` is the id of the trained model that the training began with, or null; `passes` is how many passes over
the data the weights have behind them, or null for a model that is not trained in passes; `privacy` is what the training
has cost the privacy of people (`training.privacy.record`), null where it was not private. A folder may hold a second
model, whose file names have a prefix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
EVALUATED = "evaluated-"
"""Before the names of the files of a bundle's model that was evaluated, where it is not the one that serves."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model with its catalogue and how it came about.

    Attributes:
        model: trained.
        vocabulary: the catalogue that its item indices mean.
        seed: what it was trained with.
        began_with: id of the trained model that its training began with; `None` for fresh values.
        passes: over the data that its weights have behind them; `None` if it is not trained in passes.
        privacy: what private training has cost, see `training.privacy.record`; `None` for any other.
    """

    model: Model
    vocabulary: Vocabulary
    seed: int = 0
    began_with: str | None = None
    passes: int | None = None
    privacy: Mapping[str, Any] | None = None


def save(trained: Trained, folder: Path) -> None:
    """Write a trained model to `folder`, replacing what is there only when all files are complete."""
    with replacing(folder) as scratch:
        write(trained, scratch)


def write(trained: Trained, folder: Path, prefix: str = "") -> None:
    """Write the files of a trained model into a folder that exists, with a prefix before their names."""
    model, vocabulary = trained.model, trained.vocabulary
    assert len(vocabulary) == model.n_items, f"{len(vocabulary)} ids for {model.n_items} items"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.tensors().items()}
    save_file(tensors, folder / (prefix + WEIGHTS))
    write_parquet(vocabulary.ids.to_frame(ITEM), folder / (prefix + VOCABULARY))
    write_json(
        {
            "model": model.name(),
            "config": model.config.model_dump(mode="json"),
            "n_items": model.n_items,
            "seed": trained.seed,
            "began_with": trained.began_with,
            "passes": trained.passes,
            "privacy": trained.privacy,
        },
        folder / (prefix + DESCRIPTION),
    )


def read(folder: Path, device: torch.device | None = None, prefix: str = "") -> Trained:
    """What `save` or `write` left in `folder`, on `device` (the CPU unless given).

    Raises:
        ModelError: a file is missing or damaged, or the files do not belong together; the file is named.
    """
    description = _description(folder / (prefix + DESCRIPTION))
    vocabulary = _vocabulary(folder / (prefix + VOCABULARY))
    kind = find(str(description["model"]))
    try:
        config = parse(kind.Config, description["config"], f"{folder / (prefix + DESCRIPTION)}: config")
    except ConfigError as error:
        raise ModelError(str(error)) from None
    if len(vocabulary) != description["n_items"]:
        raise ModelError(
            f"{folder / (prefix + VOCABULARY)} holds {len(vocabulary)} items, but {prefix + DESCRIPTION} says "
            f"{description['n_items']}; train the model again."
        )
    model = kind(config, len(vocabulary), device)
    path = folder / (prefix + WEIGHTS)
    try:
        model.load_tensors(load_file(path))
    except FileNotFoundError:
        raise _missing(path) from None
    except (SafetensorError, OSError, ModelError) as error:
        raise _damaged(path, error) from None
    return Trained(
        model=model,
        vocabulary=vocabulary,
        seed=description["seed"],
        began_with=description["began_with"],
        passes=description["passes"],
        privacy=description["privacy"],
    )


def load(folder: Path, device: torch.device | None = None) -> tuple[Model, Vocabulary]:
    """The model and catalogue of `read`."""
    trained = read(folder, device)
    return trained.model, trained.vocabulary


def evaluated(bundle: Path, device: torch.device | None = None) -> Trained:
    """The model in a bundle that was evaluated: the one that serves, unless that was trained once more afterwards.

    It knows nothing of the test window of its day, so it can be judged and begun with.

    Raises:
        ModelError: as `read`.
    """
    return read(bundle, device, EVALUATED if (bundle / (EVALUATED + DESCRIPTION)).is_file() else "")


def _description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _missing(path)
    try:
        found = read_json(path)
        required = {key: found[key] for key in ("model", "config", "n_items", "seed")}
    except (DataError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    return required | {key: found.get(key) for key in ("began_with", "passes", "privacy")}


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
