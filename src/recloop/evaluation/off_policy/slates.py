"""The value of a policy whose action is a slate, from rewards by position.

The probability of a whole slate is tiny, and so is the overlap of two policies in whole slates. What a position earns
depends on less than the whole slate; the less is assumed to matter, the more the log can tell. Shapes: N slates,
K positions.
"""

# ruff: noqa: N803, N806 - names carry shapes

import numpy as np

from recloop.evaluation.off_policy.estimate import Estimate, OffPolicyConfig, estimate
from recloop.evaluation.off_policy.interval import Floats
from recloop.evaluation.off_policy.logs import SlateLog, units

_DEFAULT = OffPolicyConfig()


def item_position(log: SlateLog, config: OffPolicyConfig = _DEFAULT) -> Estimate:
    """``V = 1/N sum_i sum_k w_ik r_ik`` with ``w_ik = targets_ik / propensities_ik``, both over all slates of a policy.

    Unbiased if the reward of a position depends on the item there and on nothing else of the slate (Li et al., Offline
    evaluation of ranking policies with click models, KDD 2018).

    Raises:
        RefusedError: a floor of `config` is not met at some position.
    """
    weights_NK = log.weights
    missing_NK = None if log.missing is None else np.asarray(log.missing, dtype=np.float64)
    return _estimate("item_position", log, weights_NK, missing_NK, config)


def cascade(log: SlateLog, config: OffPolicyConfig = _DEFAULT) -> Estimate:
    """``V = 1/N sum_i sum_k r_ik prod_(j <= k) w_ij`` with w_ij the ratio of probabilities given the items above j.

    Unbiased if the reward of a position depends on the item there and on those above, as with people who look from
    the top (McInerney et al., Counterfactual evaluation of slate recommendations with sequential reward interactions,
    KDD 2020). Missing probability adds up from position to position, each weighted by the product above it.

    Raises:
        RefusedError: a floor of `config` is not met at some position, usually the last.
    """
    weights_NK = np.cumprod(log.weights, axis=1, dtype=np.float64)
    missing_NK = None
    if log.missing is not None:
        above_NK = np.concatenate([np.ones((len(weights_NK), 1)), weights_NK[:, :-1]], axis=1)
        missing_NK = np.cumsum(above_NK * log.missing, axis=1)
    return _estimate("cascade", log, weights_NK, missing_NK, config)


def _estimate(
    method: str, log: SlateLog, weights_NK: Floats, missing_NK: Floats | None, config: OffPolicyConfig
) -> Estimate:
    rows = len(weights_NK)
    return estimate(
        method,
        (weights_NK * log.rewards).sum(axis=1),
        np.ones(rows),
        weights_NK,
        units_N=units(log.clusters, rows),
        missing_NK=missing_NK,
        config=config,
    )
