"""The best first, as far as the scores are good enough. Shapes: N candidates, K places."""

import numpy as np
from pydantic import Field

from recloop.policies.slate import Candidates, PolicyConfig, Slate

NEEDS: frozenset[str] = frozenset()


class Config(PolicyConfig):
    """What is good enough; the scale of scores depends on the model.

    Attributes:
        bound: only items with a score above it are shown.
        floor: but at least this many, where there are as many candidates and places.
    """

    bound: float = 0.0
    floor: int = Field(default=1, ge=0)


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:  # noqa: ARG001 - protocol
    """The first candidates in their order, each with certainty; those above the bound, or `floor`, at most `k`."""
    good = int((candidates.scores > config.bound).sum())
    return Slate.of(candidates, np.arange(min(k, len(candidates), max(good, config.floor))))
