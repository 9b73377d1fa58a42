r"""A mix of sources: each place is filled by a source that is drawn with its share.

A source is an order of the candidates, and gives the first of them that is not yet placed:

- ``model``: by score;
- ``popular``: by the number of events, most first;
- ``fresh``: by age, youngest first.

Where a source sees no difference, the better score comes first. All sources choose from the same candidates: the more
of them there are, the more can be popular or fresh.

$$ P(i \mid \text{places before}) = \sum_{\text{sources whose first item left is } i} \text{share} $$

Shapes: N candidates, K places, S sources.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from recloop.policies.slate import Candidates, PolicyConfig, Slate

NEEDS: frozenset[str] = frozenset()
Source = Literal["model", "popular", "fresh"]
_NEEDS = {"popular": "popularity", "fresh": "age"}


class Config(PolicyConfig):
    """Which sources, and how often.

    Attributes:
        shares: the weight of each source, positive; they are divided by their sum.
    """

    shares: dict[Source, float] = Field(default={"model": 0.8, "popular": 0.1, "fresh": 0.1}, min_length=1)

    @field_validator("shares")
    @classmethod
    def _positive(cls, shares: dict[Source, float]) -> dict[Source, float]:
        if min(shares.values()) <= 0:
            raise ValueError("every share must be greater than 0")
        return shares

    @property
    def needs(self) -> frozenset[str]:
        """What the sources order by."""
        return frozenset(_NEEDS[source] for source in self.shares if source in _NEEDS)


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:
    """Draw min(k, N) places; the propensities are exact."""
    orders = [_order(candidates, source) for source in config.shares]
    shares = np.array(list(config.shares.values()))
    shares /= shares.sum()
    free = np.ones(len(candidates), dtype=bool)
    chosen = np.zeros(min(k, len(candidates)), dtype=np.int64)
    propensities = np.ones(len(chosen))
    for place in range(len(chosen)):
        first = np.array([order[free[order].argmax()] for order in orders])
        chosen[place] = first[rng.choice(len(shares), p=shares)]
        free[chosen[place]] = False
        propensities[place] = min(1.0, shares[first == chosen[place]].sum())
    return Slate.of(candidates, chosen, propensities)


def first(candidates: Candidates, config: Config) -> NDArray[np.float64]:
    """The probability of each candidate to be at the first place, (N,)."""
    chances = np.zeros(len(candidates))
    total = sum(config.shares.values())
    for source, share in config.shares.items():
        if len(candidates):
            chances[_order(candidates, source)[0]] += share / total
    return chances


def _order(candidates: Candidates, source: Source) -> NDArray[np.int64]:
    """The candidates in the order of a source, (N,)."""
    match source:
        case "model":
            return np.arange(len(candidates))
        case "popular":
            assert candidates.popularity is not None
            return np.argsort(-candidates.popularity, kind="stable")
        case "fresh":
            assert candidates.age is not None
            return np.argsort(candidates.age, kind="stable")
