"""Values from a flow's form, written where every run reads them: `params.yaml`.

A flow has no parameters that DVC does not know of. What a person sets in the form is written to the file, with its
comments kept, before the first stage runs; so the lock file records it and `dvc repro` agrees afterwards.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.project import Log
from recloop.config import load_params
from recloop.errors import ConfigError


def override(root: Path, values: Mapping[str, Any], log: Log) -> dict[str, Any]:
    """Set dotted paths of `params.yaml`, for example ``{"split.strategy": "temporal"}``.

    Args:
        root: the project's folder.
        values: what to set; `None` leaves the file's value alone.
        log: is told of each change.

    Returns:
        the changes made; the file is not touched if there are none.

    Raises:
        ConfigError: the file is missing or not a mapping, names a key twice, or a path leads through something that is
            not a section.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = root / "params.yaml"
    wanted = {dotted: value for dotted, value in values.items() if value is not None}
    if not wanted:
        return {}
    load_params(path)  # its errors are sentences
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    try:
        params = yaml.load(path)
    except YAMLError as error:  # stricter than the reader of `load_params`, about keys that stand there twice
        problem = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise ConfigError(f"params.yaml cannot be changed without loss ({problem}); correct that.") from None
    changes: dict[str, Any] = {}
    for dotted, value in wanted.items():
        *sections, key = dotted.split(".")
        section = _descend(params, sections)
        if key not in section or section[key] != value:
            log.info("params.yaml: %s: %s -> %s", dotted, section.get(key, "(default)"), value)
            section[key] = _on_one_line(value)
            changes[dotted] = value
    if changes:
        text = io.StringIO()
        yaml.dump(params, text)
        _replace(path, text.getvalue())
    return changes


def _descend(params: Any, sections: list[str]) -> Any:
    """The section below `params`, made if it is absent or empty."""
    for name in sections:
        if params.get(name) is None:
            params[name] = {}
        params = params[name]
        if not isinstance(params, dict):
            raise ConfigError(f"params.yaml: {name} must be a mapping, not {params!r}; write its keys below it.")
    return params


def _on_one_line(value: Any) -> Any:
    from ruamel.yaml.comments import CommentedSeq

    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    return value


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f".params.{os.getpid()}.part")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
