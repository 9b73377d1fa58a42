"""Checkpoints: nested values with tensors in one safetensors file, replaced atomically; no pickle.

The file's metadata holds the structure as JSON, in which a tensor stands as ``{"tensor": name}``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recloop.errors import ModelError

FILE = "checkpoint.safetensors"
_SCRATCH = f".{FILE}.part"
_KEY = "checkpoint"


def write(folder: Path, fingerprint: str, value: Any) -> None:
    """Replace the checkpoint in `folder`: a kill at any moment leaves the old one or the new one.

    Args:
        folder: made if missing.
        fingerprint: what the checkpoint belongs to; only `read` with the same gets it back.
        value: tensors, numbers, text, booleans and `None`, in mappings with text keys and in lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    structure = json.dumps({"fingerprint": fingerprint, "value": _taken_apart(value, "", tensors)})
    scratch = folder / _SCRATCH
    try:
        save_file(tensors, scratch, metadata={_KEY: structure})
        scratch.replace(folder / FILE)
    finally:
        scratch.unlink(missing_ok=True)


def read(folder: Path, fingerprint: str) -> Any:
    """The value of the checkpoint in `folder`, tensors on the CPU; `None` if there is none or it belongs elsewhere.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            stored = json.loads(file.metadata()[_KEY])
            if stored["fingerprint"] != fingerprint:
                return None
            return _put_together(stored["value"], file)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ModelError(f"{path} is damaged ({reason}); delete it, and training starts from the beginning.") from None


def remove(folder: Path) -> None:
    """Delete the checkpoint in `folder`, and what a killed `write` left there, if any."""
    for name in (FILE, _SCRATCH):
        (folder / name).unlink(missing_ok=True)


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"mapping": {key: _taken_apart(part, f"{name}/{key}", tensors) for key, part in value.items()}}
    if isinstance(value, list | tuple):
        return {"list": [_taken_apart(part, f"{name}/{index}", tensors) for index, part in enumerate(value)]}
    assert value is None or isinstance(value, bool | int | float | str), f"{name} is {type(value)}"
    return {"plain": value}


def _put_together(stored: dict[str, Any], file: Any) -> Any:
    ((kind, content),) = stored.items()
    if kind == "tensor":
        return file.get_tensor(content)
    if kind == "mapping":
        return {key: _put_together(part, file) for key, part in content.items()}
    if kind == "list":
        return [_put_together(part, file) for part in content]
    return content
