"""Stage `pretrained`: the models that others begin with in; what each of them holds, as an id, out.

The stage `train` has the id of its model as a parameter, so that a model is trained anew when what it begins with has
changed, and no other model is. DVC cannot watch the parameter `pretrained` itself: it watches a folder.

With `train.warm_start` the model of the champion begins with the champion, where it may. Who that is, is read when the
stage runs (docs/decisions): the id stays what it is until data, parameters or code change.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import run
from recloop import models
from recloop.config import load_params, section
from recloop.data.bundles import describe, identify
from recloop.data.tables import read_json, read_parquet, write_json
from recloop.errors import ConfigError
from recloop.training.config import model_config
from recloop.training.warm_start import objection

FOLDER = Path("pretrained")
IDS = Path("artifacts/pretrained.json")
POINTER = Path("artifacts/champion/champion.json")
BUNDLES = Path("artifacts/bundles")
SPLIT = Path("artifacts/split/split.json")
INTERACTIONS = Path("artifacts/clean/interactions.parquet")


def main() -> None:
    """For each model with a section in `train`, the id of what it begins with, or null."""
    params = load_params()
    training = section(params, "train")
    own = {str(name): values for name, values in training.items() if isinstance(values, Mapping)}
    listed = training["models"] if isinstance(training.get("models"), list) else []
    ids = {str(name): _id(str(name), own.get(str(name), {}).get("pretrained")) for name in [*own, *listed]}
    if training.get("warm_start") == "champion" and POINTER.is_file():
        pointer = read_json(POINTER)
        name = pointer["model"]
        if name in ids and ids[name] is None:
            ids[name] = _champion(pointer["bundle"], name, params)
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


def _champion(bundle: str, name: str, params: Mapping[str, Any]) -> str | None:
    """The id of the champion, if `name` may begin with it; else it says why not."""
    model = models.find(name)(model_config(params, name), 0)
    private = section(params, "train").get("privacy") is not None
    why = objection(BUNDLES / bundle, model, read_json(SPLIT), read_parquet(INTERACTIONS), private=private)
    if why is not None:
        print(f"{name}: does not begin with the champion {bundle}: {why}")
    return bundle if why is None else None


if __name__ == "__main__":
    run(main)
