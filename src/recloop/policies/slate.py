"""What a policy chooses from and what it chose. Shapes: N candidates, K places, D dimensions, C categories."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recloop.config import Config


class PolicyConfig(Config):
    """Base of all policies' configuration."""

    @property
    def needs(self) -> frozenset[str]:
        """Fields of `Candidates` that these values need, besides the `NEEDS` of the policy's module."""
        return frozenset()


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """What was shown and clicked so far, summed over all places of the slates it was shown at.

    Attributes:
        clicks: float64 (N,), clicks on each item.
        examined: float64 (N,), how often each item was looked at, in expectation: the sum of the examination
            probabilities of the places it was shown at. Under the position-based model, where a click needs both a
            look and attraction, ``clicks / examined`` is an unbiased estimate of the attraction.
    """

    clicks: NDArray[np.float64]
    examined: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        items: NDArray[np.integer],
        places: NDArray[np.integer],
        clicked: NDArray[np.bool_],
        examination: NDArray[np.float64],
        n_items: int,
    ) -> "Clicks":
        """The sums over S impressions.

        Args:
            items: (S,), the index of what was shown.
            places: (S,), where in its slate, from 0.
            clicked: (S,).
            examination: (K,), the probability that each place is looked at; later places have that of the last.
            n_items: N, items of the catalogue.
        """
        looked = examination[np.minimum(places, len(examination) - 1)]
        return cls(
            clicks=np.bincount(items, weights=clicked, minlength=n_items).astype(np.float64),
            examined=np.bincount(items, weights=looked, minlength=n_items).astype(np.float64),
        )

    def take(self, items: NDArray[np.integer]) -> "Clicks":
        """Those of the items at these indices, in this order."""
        return Clicks(clicks=self.clicks[items], examined=self.examined[items])


@dataclass(frozen=True, kw_only=True)
class ScoredClicks:
    """What was shown and clicked so far, with the scores that were logged: enough for a linear regression of clicks.

    The sums are over the places at which slates of one model showed each item; p is the probability that the place is
    looked at, c whether it was clicked, and s the model's score. For a context of s and of anything that belongs to the
    item alone, they give the sums of p z z^T and of c z, so contexts need not be kept.

    Attributes:
        examined: float64 (N,), sum of p.
        clicks: float64 (N,), sum of c.
        scores: float64 (N,), sum of p s.
        squared_scores: float64 (N,), sum of p s^2.
        clicked_scores: float64 (N,), sum of c s.
    """

    examined: NDArray[np.float64]
    clicks: NDArray[np.float64]
    scores: NDArray[np.float64]
    squared_scores: NDArray[np.float64]
    clicked_scores: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What a policy may choose from, best first; whatever it did not ask for in `NEEDS` may be `None`.

    Attributes:
        items: int64 (N,), item indices, none twice.
        scores: float32 (N,), finite, falling.
        vectors: float32 (N, D), the model's item vectors.
        categories: float64 (N, C), how much of each item belongs to each category; a row sums to 1, or to 0 where
            nothing is known of the item.
        history_categories: float64 (C,), the same of the history: the mean of its items' rows.
        popularity: float64 (N,), events of all known users with each item.
        age: float64 (N,), days from each item's first event to the newest event of all; infinite without any.
        clicks: of each item.
        scored_clicks: of each item, with the scores of the model that made these.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    vectors: NDArray[np.float32] | None = None
    categories: NDArray[np.float64] | None = None
    history_categories: NDArray[np.float64] | None = None
    popularity: NDArray[np.float64] | None = None
    age: NDArray[np.float64] | None = None
    clicks: Clicks | None = None
    scored_clicks: ScoredClicks | None = None

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, kw_only=True)
class Slate:
    """The outcome of a policy.

    Attributes:
        items: int64 (K,), item indices, the first place first.
        scores: float32 (K,), the candidates' scores.
        propensities: float64 (K,), the probability that the policy puts this item at this place, given the items at
            the places before.
        exact: whether the propensities are computed; otherwise they are estimated.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    propensities: NDArray[np.float64]
    exact: bool = True

    @property
    def slate_propensity(self) -> float:
        """The probability of the whole slate: the product of its places' propensities; 1 for an empty one."""
        return float(np.prod(self.propensities))

    @classmethod
    def of(
        cls,
        candidates: Candidates,
        chosen: NDArray[np.integer],
        propensities: NDArray[np.float64] | None = None,
        *,
        exact: bool = True,
    ) -> "Slate":
        """The slate of the candidates at `chosen`, int64 (K,); without propensities they are certain."""
        return cls(
            items=candidates.items[chosen],
            scores=candidates.scores[chosen],
            propensities=np.ones(len(chosen)) if propensities is None else propensities,
            exact=exact,
        )


def relevance(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """The scores (N,), scaled to run from 0 to 1; all 1 where they are equal."""
    if not len(scores):
        return np.zeros(0)
    wide = scores.astype(np.float64)
    spread = wide.max() - wide.min()
    return (wide - wide.min()) / spread if spread > 0 else np.ones(len(scores))
