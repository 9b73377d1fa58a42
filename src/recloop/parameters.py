"""Writing values where every run reads them: `params.yaml`.

No run has parameters that DVC does not know of. What a person sets in a form, or a search has found, is written to the
file, with its comments kept; so the lock file records it and `dvc repro` agrees afterwards.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recloop.config import load_params
from recloop.data.tables import replacing_file
from recloop.errors import ConfigError


def override(root: Path, values: Mapping[str, Any], tell: Callable[[str], object]) -> dict[str, Any]:
    """Set dotted paths of `params.yaml`, for example ``{"split.strategy": "temporal"}``.

    Args:
        root: the project's folder.
        values: what to set; `None` is written as null.
        tell: is told of each change, a line each.

    Returns:
        the changes made; the file is not touched if there are none.

    Raises:
        ConfigError: the file is missing or not a mapping, names a key twice, or a path leads through something that is
            not a section.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = root / "params.yaml"
    if not values:
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
    for dotted, value in values.items():
        *sections, key = dotted.split(".")
        section = _descend(params, sections)
        if key not in section or section[key] != value:
            tell(f"params.yaml: {dotted}: {section.get(key, '(default)')} -> {value}")
            section[key] = _on_one_line(value)
            changes[dotted] = value
    if changes:
        text = io.StringIO()
        yaml.dump(params, text)
        with replacing_file(path) as scratch:
            scratch.write_text(text.getvalue(), encoding="utf-8")
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
