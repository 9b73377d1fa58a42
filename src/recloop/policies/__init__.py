"""Slate policies, one a file: from ranked candidates to what a person is shown, and how likely that was.

The module's name is the policy's name; each module has one function `slate`.
"""

import importlib
import pkgutil
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recloop.errors import ConfigError
from recloop.policies.slate import Slate


class Policy(Protocol):
    """A policy's `slate` function."""

    def __call__(self, items_N: NDArray[np.int64], scores_N: NDArray[np.float32], k: int) -> Slate:  # noqa: N803 - shapes
        """At most `k` of the N candidates, which come best first."""
        ...


@cache
def names() -> tuple[str, ...]:
    """The names of all policies, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "slate"))


@cache
def find(name: str) -> Policy:
    """The policy of the module `name`.

    Raises:
        ConfigError: there is no such policy; the message lists the valid names.
    """
    if name not in names():
        raise ConfigError(f"There is no slate policy '{name}'; choose from: {', '.join(names())}.")
    return importlib.import_module(f"{__name__}.{name}").slate


__all__ = ["Policy", "Slate", "find", "names"]
