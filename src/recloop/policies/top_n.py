"""The best first, nothing else. Shapes: N candidates, K places."""

import numpy as np

from recloop.policies.slate import Candidates, PolicyConfig, Slate

NEEDS: frozenset[str] = frozenset()


class Config(PolicyConfig):
    """There is nothing to choose."""


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:  # noqa: ARG001 - protocol
    """The first min(k, N) candidates in their order, each with certainty."""
    return Slate.of(candidates, np.arange(min(k, len(candidates))))
