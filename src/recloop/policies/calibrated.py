r"""Categories in the proportions of the history.

Steck, "Calibrated recommendations", RecSys 2018. Items are added one by one, each the candidate that makes the slate so
far, S, largest in

$$ (1 - \lambda) \sum_{i \in S} r_i - \lambda \sum_c p_c \log \frac{p_c}{(1 - \alpha)\, q_c + \alpha\, p_c} $$

where r is the score, scaled to run from 0 to 1 over the candidates, p the distribution of categories in the history and
q that in S, which is zero where no item of S has a category. Without categories in the history the slate is that of
`top_n`. Equal values go to the better candidate. Shapes: N candidates, K places, C categories.
"""

import numpy as np
from pydantic import Field

from recloop.policies.slate import Candidates, PolicyConfig, Slate, relevance

NEEDS: frozenset[str] = frozenset({"categories", "history_categories"})
SMOOTHING = 0.01
"""Alpha, the paper's value: keeps the divergence finite for categories that the slate lacks."""


class Config(PolicyConfig):
    """What counts how much.

    Attributes:
        calibration: lambda; 0 gives the slate of `top_n`.
    """

    calibration: float = Field(default=0.5, ge=0, le=1)


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:  # noqa: ARG001 - protocol
    """Choose min(k, N) items greedily, each with certainty."""
    assert candidates.categories is not None
    assert candidates.history_categories is not None
    wanted = candidates.history_categories > 0
    history = candidates.history_categories[wanted]
    worth = (1 - config.calibration) * relevance(candidates.scores)
    total = np.zeros(candidates.categories.shape[1])
    free = np.ones(len(candidates), dtype=bool)
    chosen = np.zeros(min(k, len(candidates)), dtype=np.int64)
    for place in range(len(chosen)):
        sums = total + candidates.categories
        shares = sums[:, wanted] / np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        mixed = (1 - SMOOTHING) * shares + SMOOTHING * history
        divergence = (history * np.log(history / mixed)).sum(axis=1)
        value = worth - config.calibration * divergence
        best = int(np.argmax(np.where(free, value, -np.inf)))
        chosen[place] = best
        free[best] = False
        total = sums[best]
    return Slate.of(candidates, chosen)
