"""The value of a policy whose action is one item: inverse propensities, clipped, self-normalised, doubly robust.

With reward r_i, weight ``w_i = target_i / propensity_i``, and N rows. The weights turn the logged actions into a sample
of the target's: unbiased if propensities are exact and the log can take every action that the target takes.
"""

from typing import Any

import numpy as np

from recloop.evaluation.off_policy.estimate import Estimate, OffPolicyConfig, estimate
from recloop.evaluation.off_policy.interval import Floats
from recloop.evaluation.off_policy.logs import Log, check_values, units
from recloop.evaluation.off_policy.rewards import Predicted

_DEFAULT = OffPolicyConfig()


def ips(log: Log, config: OffPolicyConfig = _DEFAULT) -> Estimate:
    """``V = 1/N sum_i w_i r_i`` (Horvitz and Thompson 1952).

    Raises:
        RefusedError: a floor of `config` is not met.
    """
    weights = log.weights
    return estimate("ips", weights * log.rewards, np.ones_like(weights), weights[:, None], **_common(log, config))


def clipped_ips(log: Log, config: OffPolicyConfig = _DEFAULT) -> Estimate:
    """``V = 1/N sum_i min(w_i, clip) r_i`` (Ionides, Truncated importance sampling, 2008).

    Variance is bought with bias: for rewards from 0 to R the estimate is low by at most about R times
    `Overlap.clipped`. The interval is that of the clipped mean and does not contain this bias.

    Raises:
        RefusedError: a floor of `config` is not met; `max_unseen` bounds the share of probability that is clipped.
    """
    weights = log.weights
    return estimate(
        "clipped_ips",
        np.minimum(weights, config.clip) * np.asarray(log.rewards, dtype=np.float64),
        np.ones_like(weights),
        weights[:, None],
        clip=config.clip,
        **_common(log, config),
    )


def snips(log: Log, config: OffPolicyConfig = _DEFAULT) -> Estimate:
    """``V = sum_i w_i r_i / sum_i w_i`` (Swaminathan and Joachims, The self-normalized estimator, NeurIPS 2015).

    Its bias vanishes with 1 / N; adding a constant to all rewards adds it to the estimate, and no estimate lies outside
    the rewards. Interval by the delta method. Missing probability is spread over what the log can show.

    Raises:
        RefusedError: a floor of `config` is not met.
    """
    weights = log.weights
    return estimate("snips", weights * log.rewards, weights, weights[:, None], **_common(log, config))


def doubly_robust(log: Log, predicted: Predicted, config: OffPolicyConfig = _DEFAULT) -> Estimate:
    """``V = 1/N sum_i [m_i + w_i (r_i - q_i)]`` (Dudik, Langford and Li, Doubly robust policy evaluation, ICML 2011).

    Here q_i is what a reward model expects of the shown action and m_i its mean over the target's actions. Unbiased if
    either the propensities or the model are right, provided that row i, and other rows of its person, did not inform
    q_i and m_i; `mean_by_action` is such a model.

    Raises:
        RefusedError: a floor of `config` is not met.
        DataError: the predictions are of another length or not finite.
    """
    for name, values in (("predicted.shown", predicted.shown), ("predicted.expected", predicted.expected)):
        rule = "a reward model predicts finite numbers; correct the model."
        check_values(name, values, log.rewards.shape, np.isfinite(values), rule)
    weights = log.weights
    contributions = predicted.expected + weights * (log.rewards - predicted.shown)
    return estimate("doubly_robust", contributions, np.ones_like(weights), weights[:, None], **_common(log, config))


def _common(log: Log, config: OffPolicyConfig) -> dict[str, Any]:
    missing: Floats | None = None if log.missing is None else np.asarray(log.missing, dtype=np.float64)[:, None]
    return {"units_N": units(log.clusters, len(log.rewards)), "missing_NK": missing, "config": config}
