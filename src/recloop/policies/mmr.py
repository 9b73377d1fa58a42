r"""Maximal marginal relevance: good items that are unlike those before them.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing summaries",
SIGIR 1998. Each place takes the candidate with the largest

$$ \lambda\, r_i - (1 - \lambda) \max_{j\ \text{placed}} \mathrm{sim}(i, j) $$

where r is the score, scaled to run from 0 to 1 over the candidates, and the maximum over no items is 0. Equal values go
to the better candidate. Shapes: N candidates, K places, D dimensions, C categories.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recloop.policies.slate import Candidates, PolicyConfig, Slate, relevance

NEEDS: frozenset[str] = frozenset()


class Config(PolicyConfig):
    """What counts how much.

    Attributes:
        relevance: lambda; 1 gives the slate of `top_n`.
        similarity: ``vectors``: the cosine of the items' vectors; ``categories``: categories in common, divided by
            those of either (Jaccard). An item with a vector of zeros, or without categories, is like none.
    """

    relevance: float = Field(default=0.7, ge=0, le=1)
    similarity: Literal["vectors", "categories"] = "vectors"

    @property
    def needs(self) -> frozenset[str]:
        """What the similarity is computed from."""
        return frozenset({self.similarity})


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:  # noqa: ARG001 - protocol
    """Choose min(k, N) items greedily, each with certainty."""
    places = min(k, len(candidates))
    worth = config.relevance * relevance(candidates.scores)
    closest = np.zeros(len(candidates))
    free = np.ones(len(candidates), dtype=bool)
    chosen = np.zeros(places, dtype=np.int64)
    for place in range(places):
        value = worth - (1 - config.relevance) * closest
        best = int(np.argmax(np.where(free, value, -np.inf)))
        chosen[place] = best
        free[best] = False
        similar = _similarity(candidates, best, config.similarity)
        closest = similar if place == 0 else np.maximum(closest, similar)
    return Slate.of(candidates, chosen)


def _similarity(candidates: Candidates, one: int, kind: str) -> NDArray[np.float64]:
    """How much each candidate is like candidate `one`, (N,)."""
    if kind == "vectors":
        assert candidates.vectors is not None
        vectors = candidates.vectors.astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1)
        scale = lengths * lengths[one]
        return np.divide(vectors @ vectors[one], scale, out=np.zeros(len(candidates)), where=scale > 0)
    assert candidates.categories is not None
    member = candidates.categories > 0
    common = (member & member[one]).sum(axis=1)
    return common / np.maximum((member | member[one]).sum(axis=1), 1)
