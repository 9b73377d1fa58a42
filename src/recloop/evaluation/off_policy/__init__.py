"""What a policy would have earned, told from the log of another: off-policy evaluation.

Each estimator says what it assumes. All give an `Estimate` with its interval and what the weights look like, and refuse
where the log says too little about the policy (`OverlapError`).
"""

from recloop.evaluation.off_policy.estimate import Diagnostics, Estimate, OffPolicyConfig, OverlapError
from recloop.evaluation.off_policy.single import Log, clipped_ips, cross_fitted_means, doubly_robust, ips, snips
from recloop.evaluation.off_policy.slates import SlateLog, cascade, item_position, pseudo_inverse, uniform_pairs

__all__ = [
    "Diagnostics",
    "Estimate",
    "Log",
    "OffPolicyConfig",
    "OverlapError",
    "SlateLog",
    "cascade",
    "clipped_ips",
    "cross_fitted_means",
    "doubly_robust",
    "ips",
    "item_position",
    "pseudo_inverse",
    "snips",
    "uniform_pairs",
]
