"""Which device to compute on, and in which precision."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch

from recloop.errors import ConfigError

DeviceName = Literal["auto", "cpu", "cuda"]


def choose(name: DeviceName = "auto") -> torch.device:
    """The device to use: ``auto`` is CUDA where there is one, the CPU otherwise.

    Raises:
        ConfigError: ``cuda`` is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but no CUDA device is available here; use 'auto' or 'cpu'.")
    return torch.device(name)


@contextmanager
def autocast(device: torch.device) -> Generator[None]:
    """bfloat16 matrix products on CUDA, full precision elsewhere."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        yield
