"""The value of a slate policy from one reward a slate, if that reward is a sum over items in positions.

Let 1_s be the 0-1 vector over all K x M placements (position k, item a) of a slate s, ``G = E[1_s 1_s^T]`` over the
logging policy's slates, and q the target's marginals, ``q_ka`` its probability of item a at position k. Then

    V = 1/N sum_i r_i w_i,   w_i = q_i^T G_i^+ 1_(s_i),

where G^+ is the pseudo-inverse (Swaminathan et al., Off-policy evaluation for slate recommendation, NeurIPS 2017). It
needs neither the rewards of positions nor the probability of a slate. Weights may be negative; their mean is 1.

Shapes: N slates, K positions, M items, X = K x M placements, S slates of a distribution.
"""

# ruff: noqa: N803, N806 - names carry shapes

import numpy as np
from numpy.typing import NDArray

from recloop.errors import DataError
from recloop.evaluation.off_policy.estimate import Estimate, OffPolicyConfig, estimate
from recloop.evaluation.off_policy.interval import Floats
from recloop.evaluation.off_policy.logs import check_clusters, check_rewards, check_values, units

_DEFAULT = OffPolicyConfig()
_ROUNDING = 1e-7


def pseudo_inverse(
    rewards_N: NDArray[np.floating],
    slates_NK: NDArray[np.integer],
    targets_NKM: NDArray[np.floating],
    moments: NDArray[np.floating],
    *,
    clusters_N: NDArray[np.generic] | None = None,
    config: OffPolicyConfig = _DEFAULT,
) -> Estimate:
    """The pseudo-inverse estimate of the target's mean reward of a slate.

    Args:
        rewards_N: what each slate earned as a whole.
        slates_NK: the items shown, from 0 to M - 1.
        targets_NKM: the target's marginals; each position's add up to 1.
        moments: (K, M, K, M), the logging policy's probability of item a at position k together with item b at position
            l, if it is the same for all requests, or (N, K, M, K, M). See `independent_slots`, `uniform_slates`,
            `moments_of`.
        clusters_N: who each slate was shown to, as in `logs.Log`.
        config: level and floors.

    Raises:
        RefusedError: a floor of `config` is not met.
        DataError: an array has another shape, a value breaks its rule, or the slates of the logging policy cannot make
            up the target's marginals, and then there is no unbiased estimate.
    """
    (rows,) = check_rewards(rewards_N, ("N",))
    check_clusters(clusters_N, rows)
    weights_N = _weights(rows, slates_NK, targets_NKM, np.asarray(moments, dtype=np.float64))
    return estimate(
        "pseudo_inverse",
        weights_N * rewards_N,
        np.ones(rows),
        weights_N[:, None],
        units_N=units(clusters_N, rows),
        missing_NK=np.zeros((rows, 1)),
        config=config,
    )


def independent_slots(propensities_KM: NDArray[np.floating]) -> Floats:
    """(K, M, K, M), the moments of a policy that fills each position on its own, repeats included.

    Weights are then ``sum_k q_k(s_k) / p_k(s_k) - K + 1``.
    """
    positions, items = propensities_KM.shape
    first_KM = np.asarray(propensities_KM, dtype=np.float64)
    moments = np.einsum("ka,lb->kalb", first_KM, first_KM)
    for k in range(positions):
        moments[k, :, k, :] = np.diag(first_KM[k])
    return moments.reshape(positions, items, positions, items)


def uniform_slates(positions: int, items: int) -> Floats:
    """(K, M, K, M), the moments of slates of K different items of M in random order.

    One placement has 1 / M, two different items at two positions have 1 / (M (M - 1)), the others 0.

    Raises:
        DataError: there are fewer items than positions.
    """
    if not 1 <= positions <= items:
        raise DataError(
            f"A slate of {positions} different items cannot be drawn from {items}; give 1 to {items} positions."
        )
    apart = (1 - np.eye(positions))[:, None, :, None] * (1 - np.eye(items))[None, :, None, :]
    same = np.eye(positions)[:, None, :, None] * np.eye(items)[None, :, None, :]
    return same / items + apart / (items * max(1, items - 1))


def moments_of(slates_SK: NDArray[np.integer], probabilities_S: NDArray[np.floating], items: int) -> Floats:
    """(K, M, K, M), the moments of any policy, from its slates and their probabilities.

    All slates give the exact moments, a large sample of them with equal probabilities approximate ones.
    """
    placed_SKM = np.eye(items)[slates_SK]
    return np.einsum("s,ska,slb->kalb", probabilities_S, placed_SKM, placed_SKM, optimize=True)


def _weights(rows: int, slates_NK: NDArray[np.integer], targets_NKM: NDArray[np.floating], moments: Floats) -> Floats:
    if targets_NKM.ndim != 3:
        raise DataError(f"targets has the shape {targets_NKM.shape}, which must be (N, K, M); give marginals a slate.")
    _, positions, items = targets_NKM.shape
    square = (positions, items, positions, items)
    if moments.shape not in (square, (rows, *square)):
        raise DataError(
            f"moments has the shape {moments.shape} and must have {square}, or that for each of {rows} slates; "
            "give the moments of the positions and items of targets."
        )
    known_NK = (slates_NK >= 0) & (slates_NK < items)
    rule = f"items are numbered from 0 to {items - 1}; correct the number."
    check_values("slates", slates_NK, (rows, positions), known_NK, rule)
    proper_NKM = (targets_NKM >= 0) & (targets_NKM <= 1)
    rule = "a probability lies in [0, 1]; correct the target policy."
    check_values("targets", targets_NKM, (rows, positions, items), proper_NKM, rule)
    gram_NXX = moments.reshape(-1, positions * items, positions * items)
    marginals_NX = np.asarray(targets_NKM, dtype=np.float64).reshape(rows, -1)
    inverse_NXX = np.linalg.pinv(gram_NXX, rcond=1e-10, hermitian=True)
    coefficients_NX = np.matmul(marginals_NX[:, None], inverse_NXX)[:, 0]
    off_N = np.abs(np.matmul(coefficients_NX[:, None], gram_NXX)[:, 0] - marginals_NX).max(axis=1)
    if off_N.max() > _ROUNDING:
        raise DataError(
            f"targets[{off_N.argmax()}] cannot be made up of slates of the logging policy, and the pseudo-inverse "
            "needs that; let the log show every item wherever the target does, and see that each position's "
            "probabilities add up to 1."
        )
    placed_NX = np.arange(positions) * items + slates_NK
    possible_NX = np.broadcast_to(np.einsum("nxx->nx", gram_NXX) > 0, marginals_NX.shape)
    rule = "by moments the log never shows that item there; give the moments of the policy that logged."
    check_values("slates", slates_NK, (rows, positions), np.take_along_axis(possible_NX, placed_NX, axis=1), rule)
    return np.take_along_axis(coefficients_NX, placed_NX, axis=1).sum(axis=1)
