r"""Thompson sampling: an item is shown as often as it may be the most attractive one, by what was clicked so far.

Thompson, "On the likelihood that one unknown probability exceeds another", 1933; clicks are corrected for the place
that they were made at as in the position-based model, Lagrée et al., "Multiple-play bandits in the position-based
model", NIPS 2016. An item's attraction has the posterior

$$ \theta_i \sim \mathrm{Beta}(a + \text{clicks}_i,\; b + \max(\text{examined}_i - \text{clicks}_i, 0)) $$

where `examined` sums the examination probabilities of the places it was shown at: a click at a place that few look at
counts as much as any, an absent click there counts little. For each place new attractions are drawn, and the candidate
with the largest of those not yet placed takes it. The probability of that has no closed form; it is estimated with M
further draws, of which m agree, as (m + 1) / (M + 1), the draw that was made being counted too, so that it is never 0.

Shapes: N candidates, K places, M draws.
"""

import numpy as np
from pydantic import Field

from recloop.policies.slate import Candidates, PolicyConfig, Slate

NEEDS: frozenset[str] = frozenset({"clicks"})
EXACT = False
"""Propensities are estimated."""


class Config(PolicyConfig):
    """What is believed before any click, and how well propensities are estimated.

    Attributes:
        prior_clicks: a.
        prior_misses: b.
        draws: M; the standard error of a propensity p is about sqrt(p (1 - p) / M).
    """

    prior_clicks: float = Field(default=1.0, gt=0)
    prior_misses: float = Field(default=1.0, gt=0)
    draws: int = Field(default=500, ge=1, le=100_000)


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:
    """Draw min(k, N) places; the propensities are estimated."""
    assert candidates.clicks is not None
    clicks, examined = candidates.clicks.clicks, candidates.clicks.examined
    hits = config.prior_clicks + clicks
    misses = config.prior_misses + np.maximum(examined - clicks, 0.0)
    places = min(k, len(candidates))
    own = rng.beta(hits, misses, size=(places, len(candidates)))
    others = rng.beta(hits, misses, size=(config.draws, len(candidates)))
    chosen = np.zeros(places, dtype=np.int64)
    propensities = np.ones(places)
    for place in range(places):
        chosen[place] = own[place].argmax()
        agreeing = int((others.argmax(axis=1) == chosen[place]).sum())
        propensities[place] = (agreeing + 1) / (config.draws + 1)
        own[:, chosen[place]] = others[:, chosen[place]] = -1.0
    return Slate.of(candidates, chosen, propensities, exact=False)
