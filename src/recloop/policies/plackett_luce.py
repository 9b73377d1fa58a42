r"""Softmax sampling without replacement: the better its score, the earlier an item tends to stand.

Plackett, "The analysis of permutations", 1975; Luce, "Individual choice behavior", 1959; drawn with the Gumbel-top-k
trick (Kool, van Hoof and Welling, "Stochastic beams and where to find them", ICML 2019): the candidates in falling
order of ``score / temperature + Gumbel noise`` are such a sample.

$$ P(i \mid \text{places before}) = \frac{e^{s_i / T}}{\sum_{j\ \text{not yet placed}} e^{s_j / T}} $$

Shapes: N candidates, K places.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recloop.policies.slate import Candidates, PolicyConfig, Slate

NEEDS: frozenset[str] = frozenset()


class Config(PolicyConfig):
    """How much is left to chance.

    Attributes:
        temperature: T; towards 0 the slate is that of `top_n`, towards infinity any order is equally likely.
        standardize: divide the scores by their standard deviation among the candidates first, so that a temperature
            means the same for all models; without any spread they stay as they are.
    """

    temperature: float = Field(default=1.0, ge=1e-6)
    standardize: bool = True


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:
    """Draw min(k, N) places; the propensities are exact."""
    logits = _logits(candidates, config)
    order = np.argsort(-(logits + rng.gumbel(size=len(candidates))), kind="stable")
    drawn = logits[order]
    rest = np.logaddexp.accumulate(drawn[::-1])[::-1]
    propensities = np.exp(drawn - rest)[:k]
    return Slate.of(candidates, order[:k], np.minimum(propensities, 1.0))


def first(candidates: Candidates, config: Config) -> NDArray[np.float64]:
    """The probability of each candidate to be drawn first, (N,)."""
    weights = np.exp(_logits(candidates, config))
    return weights / max(weights.sum(), np.finfo(np.float64).tiny)


def _logits(candidates: Candidates, config: Config) -> NDArray[np.float64]:
    """Scores over the temperature, the largest 0, (N,)."""
    scores = candidates.scores.astype(np.float64)
    if config.standardize and len(scores) and (spread := scores.std()) > 0:
        scores = scores / spread
    return (scores - scores.max(initial=-np.inf)) / config.temperature
