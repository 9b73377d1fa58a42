"""Typed, frozen, keyword-only configuration, and the reading of `params.yaml`.

Each part of the library declares its own subclass of `Config` next to the code that it configures; nothing is declared
twice. `parse` turns plain mappings into these objects and every mistake into one sentence.
"""

from collections.abc import Mapping
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recloop.errors import ConfigError

C = TypeVar("C", bound="Config")

SEEDS = 1 << 63
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
"""A seed that every generator of random numbers takes."""


class Config(BaseModel):
    """Base of all configuration: immutable; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def parse(kind: type[C], values: Mapping[str, Any] | None, where: str) -> C:
    """Build a `kind` from plain values.

    Args:
        kind: the `Config` subclass.
        values: parsed YAML or JSON; `None` means all defaults.
        where: what to call the values in an error, for example ``params.yaml: train.sasrec``.

    Raises:
        ConfigError: the values are no mapping, or a key is unknown, a type wrong or a value out of bounds, named with
            its path.
    """
    try:
        return kind.model_validate(_mapping(values, where))
    except ValidationError as error:
        raise ConfigError(_sentence(kind, error, where)) from None


def load_params(path: Path | str = "params.yaml") -> dict[str, Any]:
    """Read the parameters file.

    Raises:
        ConfigError: the file is missing or cannot be read, is not YAML, or its top level is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; run the command in the project's root or name the file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text ({_one_line(error)}); correct the file.") from None
    try:
        params = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML ({_one_line(error)}); correct that line.") from None
    if not isinstance(params, dict):
        raise ConfigError(f"{path} must be a mapping of sections such as 'ingest:' and 'train:'.")
    return params


def section(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One section of the parameters; an absent or empty section is all defaults.

    Raises:
        ConfigError: the section is there but is not a mapping.
    """
    return _mapping(params.get(name), f"params.yaml: {name}")


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a mapping, not {values!r}; write its keys below it.")
    return dict(values)


def _sentence(kind: type[Config], error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    path = ".".join([where, *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(_fields(kind, first["loc"][:-1])))
        return f"{path} is not a known parameter; known ones are: {known}."
    if first["type"] == "missing":
        return f"{path} is required; add it."
    message = first["msg"].removeprefix("Value error, ")
    rule = message[0].lower() + message[1:]
    return f"{path} is {first['input']!r}, but {rule}; correct the value."


def _fields(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The parameters that may stand at `path` below a `kind`."""
    for part in path:
        field = kind.model_fields.get(str(part))
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        kind = next((one for one in kinds if isclass(one) and issubclass(one, BaseModel)), kind)
    return list(kind.model_fields)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
