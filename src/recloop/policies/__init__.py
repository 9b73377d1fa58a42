"""Slate policies, one a file: from ranked candidates to what a person is shown, and how likely that was.

The module's name is the policy's name. Each module has a `Config`, the fields of `Candidates` that it cannot do without
as `NEEDS`, and a function `slate`.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

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


def exact(name: str) -> bool:
    """Whether the propensities that a policy logs are computed: all are, but of modules with ``EXACT = False``."""
    return name not in names() or getattr(find(name), "EXACT", True)


def first_place(policy: Policy, candidates: Candidates, config: PolicyConfig) -> NDArray[np.float64] | None:
    """The probability that the policy puts each candidate at the first place, (N,); `None` where that is not known.

    It is what the module's function `first` says, if it has one; without it, only a place that is certain is known.
    """
    if (first := getattr(policy, "first", None)) is not None:
        return first(candidates, config)
    made = policy.slate(candidates, 1, config, np.random.default_rng(0))
    if not made.exact or (made.propensities < 1).any():
        return None
    return np.isin(candidates.items, made.items[:1]).astype(np.float64)


__all__ = [
    "Candidates",
    "Clicks",
    "Policy",
    "PolicyConfig",
    "ScoredClicks",
    "Slate",
    "exact",
    "find",
    "first_place",
    "names",
]
