"""What a caller may choose, checked before any work is done."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import torch
import yaml

from recloop import devices
from recloop.config import SEEDS, parse
from recloop.errors import ConfigError, DataError
from recloop.metrics import Metric, Predictions
from recloop.metrics import parse as parse_metric
from recloop.models.base import Model, ModelConfig
from recloop.training.config import EarlyStopping

_STOPPING = "early_stopping."


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """What ``--set KEY=VALUE`` means, values as in YAML; of the same key twice the last.

    Raises:
        ConfigError: a pair is not of that form, or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (key.strip() and sign):
            raise ConfigError(f"--set {pair!r} is not KEY=VALUE; write for example --set regularization=100.")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {pair!r} has a value that is not valid YAML; quote or correct it.") from None
    return values


def configs(kind: type[Model], values: Mapping[str, Any]) -> tuple[ModelConfig, EarlyStopping]:
    """What the settings say of the model, and of when its training stops."""
    stops = {key.removeprefix(_STOPPING): value for key, value in values.items() if key.startswith(_STOPPING)}
    own = {key: value for key, value in values.items() if not key.startswith(_STOPPING)}
    return parse(kind.Config, own, "--set"), parse(EarlyStopping, stops, f"--set {_STOPPING[:-1]}")


def wanted_metrics(names: Sequence[str], kind: type[Model]) -> list[Metric]:
    """The metrics of these names, each once; one that the model cannot have is refused."""
    wanted = list({metric.name: metric for metric in map(parse_metric, names)}.values())
    for metric in wanted:
        if metric.takes is Predictions and "values" not in kind.needs:
            raise ConfigError(
                f"Metric '{metric.name}' needs a model that predicts ratings, which {kind.name()} does not; "
                "leave the metric out."
            )
    return wanted


def chosen_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA where there is one."""
    if name not in get_args(devices.DeviceName):
        raise ConfigError(f"device is {name!r}, but it must be 'auto', 'cpu' or 'cuda'; correct it.")
    return devices.choose(cast("devices.DeviceName", name))


def check_seed(seed: int) -> None:
    """Refuse what no generator of random numbers takes."""
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed is {seed}, but it must be a whole number from 0 to {SEEDS - 1}; correct it.")


def check_places(out: Path | None, checkpoint: Path | None) -> None:
    """Refuse places where the report or the checkpoint could not be written, before any work is done."""
    if out is not None and out.is_dir():
        raise DataError(f"{out} is a folder, but the report is a file; name one, for example {out / 'report.json'}.")
    if checkpoint is not None and checkpoint.exists() and not checkpoint.is_dir():
        raise DataError(f"{checkpoint} is a file, but checkpoints lie in a folder; name another place.")
    for place, inside in ((out, False), (checkpoint, True)):
        if place is None:
            continue
        path = place.absolute()
        folder = next(parent for parent in ([path] if inside else []) + [*path.parents] if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise DataError(f"{place} cannot be written, as {folder} is not a folder to write to; name another place.")
