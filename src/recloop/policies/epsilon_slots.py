r"""The best first, but each place is left to chance with probability epsilon.

$$ P(i \mid \text{places before}) = \frac{\epsilon}{R} + (1 - \epsilon)\,[i\ \text{is the best of them}] $$

where R candidates are not yet placed. Shapes: N candidates, K places.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recloop.policies.slate import Candidates, PolicyConfig, Slate

NEEDS: frozenset[str] = frozenset()


class Config(PolicyConfig):
    """How much is left to chance.

    Attributes:
        epsilon: the probability that a place is filled by any candidate left, all equally likely.
    """

    epsilon: float = Field(default=0.1, ge=0, le=1)


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:
    """Draw min(k, N) places; the propensities are exact."""
    left = list(range(len(candidates)))
    places = min(k, len(left))
    chosen = np.zeros(places, dtype=np.int64)
    propensities = np.ones(places)
    for place in range(places):
        at = int(rng.integers(len(left))) if rng.random() < config.epsilon else 0
        propensities[place] = config.epsilon / len(left) + (1 - config.epsilon) * (at == 0)
        chosen[place] = left.pop(at)
    return Slate.of(candidates, chosen, np.minimum(propensities, 1.0))


def first(candidates: Candidates, config: Config) -> NDArray[np.float64]:
    """The probability of each candidate to be at the first place, (N,)."""
    chances = np.full(len(candidates), config.epsilon / max(1, len(candidates)))
    chances[:1] += 1 - config.epsilon
    return chances
