"""What a policy would earn, estimated from the log of another one, and when no estimate may be given.

| estimator | needs, for each logged row or slate | unbiased if |
| --- | --- | --- |
| `ips` | probability of the shown action under both policies | the log can show all that the target shows |
| `clipped_ips` | the same | no weight exceeds the bound; otherwise low for rewards >= 0, by a stated share |
| `snips` | the same | asymptotically, as `ips`; does not change when a constant is added to all rewards |
| `doubly_robust` | the same and a reward model | as `ips`, whatever the model; the better the model, the narrower |
| `item_position` | probability of each shown item at its position | a position's reward depends on its own item alone |
| `cascade` | the same, given the items above | a position's reward depends on its own item and those above |
| `pseudo_inverse` | the target's marginals, the log's moments | the slate's reward is a sum over items in positions |

Each returns an `Estimate` with its interval and its `Overlap`, or raises `RefusedError` where a floor of
`OffPolicyConfig` is not met.
"""

from recloop.evaluation.off_policy.estimate import Estimate, OffPolicyConfig, Overlap, RefusedError
from recloop.evaluation.off_policy.interval import Mean
from recloop.evaluation.off_policy.logs import Log, SlateLog
from recloop.evaluation.off_policy.pseudo_inverse import (
    independent_slots,
    moments_of,
    pseudo_inverse,
    uniform_slates,
)
from recloop.evaluation.off_policy.rewards import Predicted, mean_by_action
from recloop.evaluation.off_policy.single import clipped_ips, doubly_robust, ips, snips
from recloop.evaluation.off_policy.slates import cascade, item_position

__all__ = [
    "Estimate",
    "Log",
    "Mean",
    "OffPolicyConfig",
    "Overlap",
    "Predicted",
    "RefusedError",
    "SlateLog",
    "cascade",
    "clipped_ips",
    "doubly_robust",
    "independent_slots",
    "ips",
    "item_position",
    "mean_by_action",
    "moments_of",
    "pseudo_inverse",
    "snips",
    "uniform_slates",
]
