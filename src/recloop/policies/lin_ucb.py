r"""LinUCB: a linear model of what is clicked, and those first that may, within its uncertainty, be clicked most.

Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news article recommendation", WWW 2010,
algorithm 2 (hybrid): items share a regression on their context z, and each item has an intercept of its own,

$$ \mathrm{E}[\text{click} \mid \text{looked at}] = \beta^\top z + \theta_i, \qquad
   z = (1,\ \text{score},\ \text{popularity} \ldots) $$

Hybrid and not disjoint, since an item that was hardly shown is then believed to be like others of its kind; with a
regression for each item alone, a large catalogue would be explored one item at a time. The order is that of the upper
bounds

$$ \beta^\top z + \theta_i + \alpha \sqrt{s_i}, \qquad
   s_i = (z - \tfrac{B_i}{\lambda + n_i})^\top A_0^{-1} (z - \tfrac{B_i}{\lambda + n_i}) + \tfrac{1}{\lambda + n_i} $$

With the sums of `ScoredClicks` over the places at which item i was shown, p the probability that a place is looked at,

$$ n_i = \textstyle\sum p, \quad B_i = \sum p z, \quad
   A_0 = \lambda I + \sum_i \Big(\sum p z z^\top - \tfrac{B_i B_i^\top}{\lambda + n_i}\Big), \quad
   b_0 = \sum_i \Big(\sum c z - \tfrac{c_i B_i}{\lambda + n_i}\Big) $$

and then $\beta = A_0^{-1} b_0$, $\theta_i = (c_i - B_i^\top \beta) / (\lambda + n_i)$. The paper has one item a page,
p = 1 and lambda = 1; here a place that few look at counts for little, so the equations are unbiased under the
position-based model, as for `thompson`. The sums are over the candidates, the arms of the request.

The context of a shown item can be made again from the log: its score was logged, and all else is of the item alone.
Popularity is ``log(1 + events)``, divided by its largest value among the candidates; age is ``1 / (1 + days)``; vectors
have length 1; scores are scaled by the mean and the deviation of the logged ones (of the candidates', while there are
none). What is known of the person enters by the score only.

Without `epsilon` nothing is left to chance: propensities are 1, and the log says nothing of other policies.

Shapes: N candidates, K places, Z parts of the context, F = Z - 1 of them of the item alone.
"""

# ruff: noqa: N803, N806 - names carry shapes

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recloop.policies import epsilon_slots
from recloop.policies.slate import Candidates, PolicyConfig, ScoredClicks, Slate

NEEDS: frozenset[str] = frozenset({"scored_clicks"})
Feature = Literal["score", "popularity", "age", "categories", "vectors"]
Floats = NDArray[np.float64]


class Config(PolicyConfig):
    """What is looked at, and how far uncertainty counts.

    Attributes:
        alpha: how many deviations the bound lies above the estimate, in units of a click's deviation; as that is at
            most 1/2, 0.5 is at least one standard error.
        ridge: lambda, how much is believed in coefficients of 0.
        features: the parts of the context, besides a constant.
        epsilon: the probability that a place is filled by any candidate left, as in `epsilon_slots`.
    """

    alpha: float = Field(default=0.5, ge=0)
    ridge: float = Field(default=1.0, gt=0)
    features: tuple[Feature, ...] = ("score", "popularity", "age")
    epsilon: float = Field(default=0.0, ge=0, le=1)

    @property
    def needs(self) -> frozenset[str]:
        """What the context is made of."""
        return frozenset(self.features) - {"score"}


def slate(candidates: Candidates, k: int, config: Config, rng: np.random.Generator) -> Slate:
    """Those with the largest bounds, or with probability epsilon anybody; the propensities are exact."""
    order = np.argsort(-bounds(candidates, config), kind="stable")
    ordered = Candidates(items=candidates.items[order], scores=candidates.scores[order])
    return epsilon_slots.slate(ordered, k, epsilon_slots.Config(epsilon=config.epsilon), rng)


def bounds(candidates: Candidates, config: Config) -> Floats:
    """The upper bound of each candidate's probability of a click once it is looked at, (N,); it may exceed 1."""
    known = candidates.scored_clicks
    assert known is not None
    if not len(candidates):
        return np.zeros(0)
    item_NF = _of_items(candidates, config)
    score_N, mean_N, square_N, clicked_N = _scaled(candidates.scores.astype(np.float64), known)
    if "score" not in config.features:
        score_N, mean_N, square_N, clicked_N = (np.zeros(len(candidates)) for _ in range(4))
    n_N, c_N = known.examined, known.clicks
    weight_N = config.ridge + n_N
    z_NZ = np.column_stack([score_N, item_NF])
    B_NZ = np.column_stack([mean_N, n_N[:, None] * item_NF])
    A0 = config.ridge * np.eye(z_NZ.shape[1])
    A0[0, 0] += np.maximum(square_N - mean_N**2 / weight_N, 0).sum()
    left_N = config.ridge / weight_N
    A0[0, 1:] = A0[1:, 0] = (mean_N * left_N) @ item_NF
    A0[1:, 1:] += item_NF.T @ (item_NF * (n_N * left_N)[:, None])
    b0 = np.concatenate([[(clicked_N - mean_N * c_N / weight_N).sum()], (c_N * left_N) @ item_NF])
    inverse = np.linalg.inv(A0)
    beta = inverse @ b0
    theta_N = (c_N - B_NZ @ beta) / weight_N
    away_NZ = z_NZ - B_NZ / weight_N[:, None]
    s_N = np.einsum("nz,zy,ny->n", away_NZ, inverse, away_NZ) + 1 / weight_N
    return z_NZ @ beta + theta_N + config.alpha * np.sqrt(np.maximum(s_N, 0))


def _of_items(candidates: Candidates, config: Config) -> Floats:
    """The constant and what is known of each item whoever asks, (N, F)."""
    columns: list[Floats] = [np.ones((len(candidates), 1))]
    for feature in config.features:
        match feature:
            case "score":
                pass
            case "popularity":
                assert candidates.popularity is not None
                logs = np.log1p(candidates.popularity)
                columns.append((logs / max(logs.max(), 1.0))[:, None])
            case "age":
                assert candidates.age is not None
                columns.append((1 / (1 + candidates.age))[:, None])
            case "categories":
                assert candidates.categories is not None
                columns.append(candidates.categories)
            case "vectors":
                assert candidates.vectors is not None
                wide = candidates.vectors.astype(np.float64)
                lengths = np.linalg.norm(wide, axis=1, keepdims=True)
                columns.append(wide / np.where(lengths > 0, lengths, 1.0))
    return np.hstack(columns)


def _scaled(scores_N: Floats, known: ScoredClicks) -> tuple[Floats, Floats, Floats, Floats]:
    """The scores and the sums of p s, p s^2 and c s, each (N,), with s scaled to mean 0 and deviation 1."""
    total = known.examined.sum()
    if total > 0:
        mean = known.scores.sum() / total
        variance = known.squared_scores.sum() / total - mean**2
    else:
        mean, variance = scores_N.mean(), scores_N.var()
    # What rounding leaves of equal scores is no spread.
    spread = np.sqrt(variance) if variance > 1e-12 * mean**2 else 1.0
    return (
        (scores_N - mean) / spread,
        (known.scores - mean * known.examined) / spread,
        np.maximum(known.squared_scores - 2 * mean * known.scores + mean**2 * known.examined, 0) / spread**2,
        (known.clicked_scores - mean * known.clicks) / spread,
    )
