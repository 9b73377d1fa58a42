"""Stage `pretrained`: the models that others begin with in; what each of them holds, as an id, out.

The stage `train` has the id of its model as a parameter, so that a model is trained anew when what it begins with has
changed, and no other model is. DVC cannot watch the parameter `pretrained` itself: it watches a folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import run
from recloop.config import load_params, section
from recloop.data.bundles import describe, identify
from recloop.data.tables import write_json
from recloop.errors import ConfigError

FOLDER = Path("pretrained")
IDS = Path("artifacts/pretrained.json")


def main() -> None:
    """For each model with a section in `train`, the id of what it begins with, or null."""
    training = section(load_params(), "train")
    own = {str(name): values for name, values in training.items() if isinstance(values, Mapping)}
    listed = training["models"] if isinstance(training.get("models"), list) else []
    ids = {str(name): _id(str(name), own.get(str(name), {}).get("pretrained")) for name in [*own, *listed]}
    write_json(ids, IDS)
    for name, found in ids.items():
        if found is not None:
            print(f"{name}: begins with {found}")


def _id(name: str, named: Any) -> str | None:
    if named is None:
        return None
    where, folder = f"params.yaml: train.{name}.pretrained is {named!r}", Path(str(named))
    if not folder.resolve().is_relative_to(FOLDER.resolve()):
        raise ConfigError(
            f"{where}, but must lie in the folder {FOLDER}, which is the one that DVC watches; copy the model to "
            f"{FOLDER / folder.name} and name that."
        )
    if not folder.is_dir():
        raise ConfigError(f"{where}, which does not exist; copy the folder of a trained model there.")
    return identify(describe(folder))


if __name__ == "__main__":
    run(main)
