"""A simple reward model for the doubly robust estimator, that no row informs about itself.

Shapes: N rows, A actions.
"""

# ruff: noqa: N803, N806 - names carry shapes

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recloop.errors import DataError
from recloop.evaluation.off_policy.logs import check_clusters, check_rewards, check_values, units


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a reward model expects.

    Attributes:
        shown: (N,), of the action that was logged.
        expected: (N,), on average over the actions of the target policy at that row.
    """

    shown: NDArray[np.floating]
    expected: NDArray[np.floating]


def mean_by_action(
    rewards_N: NDArray[np.floating],
    actions_N: NDArray[np.integer],
    targets_NA: NDArray[np.floating],
    *,
    clusters_N: NDArray[np.generic] | None = None,
    folds: int = 5,
    strength: float = 20.0,
    seed: int,
) -> Predicted:
    """The mean reward of each action, shrunk towards the mean of all, cross-fitted.

    Units (clusters, or rows) are dealt at random to `folds` parts of nearly equal size. For the rows of one part, an
    action is expected to earn ``(sum of its rewards + strength x mean) / (its number + strength)``, with sum, number
    and mean taken over the other parts: the mean, for an action that they never saw.

    Args:
        rewards_N: what each row earned.
        actions_N: which action was logged, from 0 to A - 1.
        targets_NA: the target's probability of each action at each row.
        clusters_N: who each row is about; all rows of one are in the same part.
        folds: number of parts, at least 2 and at most the number of units.
        strength: how many rows the mean of all counts for.
        seed: seeds the deal.

    Raises:
        DataError: an array has another shape, a value breaks its rule, or there are fewer units than folds.
    """
    (rows,) = check_rewards(rewards_N, ("N",))
    count = targets_NA.shape[-1]
    known = (np.asarray(actions_N) >= 0) & (np.asarray(actions_N) < count)
    check_values(
        "actions", actions_N, (rows,), known, f"actions are numbered from 0 to {count - 1}; correct the number."
    )
    proper = (np.asarray(targets_NA) >= 0) & (np.asarray(targets_NA) <= 1)
    check_values(
        "targets", targets_NA, (rows, count), proper, "a probability lies in [0, 1]; correct the target policy."
    )
    check_clusters(clusters_N, rows)
    units_N = units(clusters_N, rows)
    n_units = int(units_N.max()) + 1
    if not 2 <= folds <= n_units:
        raise DataError(f"folds is {folds}, which must lie between 2 and the {n_units} units of the log; correct it.")
    fold_N = (np.random.default_rng(seed).permutation(n_units) % folds)[units_N]
    shown_N, expected_N = np.empty(rows), np.empty(rows)
    for fold in range(folds):
        here_N = fold_N == fold
        rest, taken = rewards_N[~here_N], actions_N[~here_N]
        sums_A = np.bincount(taken, weights=rest, minlength=count)
        means_A = (sums_A + strength * rest.mean()) / (np.bincount(taken, minlength=count) + strength)
        shown_N[here_N] = means_A[actions_N[here_N]]
        expected_N[here_N] = targets_NA[here_N] @ means_A
    return Predicted(shown=shown_N, expected=expected_N)
