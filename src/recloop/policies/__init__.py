"""Slate policies, one a file: from ranked candidates to what a person is shown, and how likely that was.

The module's name is the policy's name. Each module has a `Config`, the fields of `Candidates` that it cannot do without
as `NEEDS`, and a function `slate`.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any, Protocol, cast

import numpy as np

from recloop.errors import ConfigError
from recloop.policies.slate import Candidates, Clicks, PolicyConfig, ScoredClicks, Slate


class Policy(Protocol):
    """A policy's module.

    Attributes:
        Config: its parameters.
        NEEDS: fields of `Candidates` that it cannot do without, whatever its parameters.
    """

    Config: type[PolicyConfig]
    NEEDS: frozenset[str]

    def slate(self, candidates: Candidates, k: int, config: Any, rng: np.random.Generator) -> Slate:
        """At most `k` of the candidates; equal arguments and an equal state of `rng` give an equal slate."""
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
    return cast("Policy", importlib.import_module(f"{__name__}.{name}"))


__all__ = ["Candidates", "Clicks", "Policy", "PolicyConfig", "ScoredClicks", "Slate", "find", "names"]
