"""Estimators of rewards of slates.

Shapes: N rows of the log, K places of a slate, I items.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from recloop.errors import DataError
from recloop.evaluation.off_policy.estimate import Estimate, Floats, OffPolicyConfig, diagnose, interval
from recloop.evaluation.off_policy.single import Log, group


@dataclass(frozen=True, kw_only=True)
class SlateLog(Log):
    """Slates of K places, how likely the log and the target are to fill each place so, and what each place earned.

    As `Log`, with one column a place: `rewards`, `propensities`, `targets` and `weights` are (N, K); each estimator
    says of what the probabilities are. The value of a slate is the sum of its rewards. `unsupported` is the mean share
    of the target's probability on slates that the log never shows.

    Raises:
        DataError: as `Log`, or `rewards` has not two axes.
    """

    @override
    def __post_init__(self) -> None:
        shape = np.shape(self.rewards)
        if len(shape) != 2:
            raise DataError(f"rewards has the shape {shape}, but must have one row a slate and one column a place.")
        super().__post_init__()


def item_position(log: SlateLog, config: OffPolicyConfig) -> Estimate:
    """``mean(sum_k w_k r_k)``: the reward of a place depends on its item and the place alone (Li et al., KDD 2018).

    Here probabilities are marginal: of this item at this place, whatever stands elsewhere. The diagnostics are those of
    the place with the smallest effective sample.

    Raises:
        OverlapError: a floor of `config` is not kept at some place; so do all others here.
    """
    return _by_place("item_position", log, log.weights, config)


def cascade(log: SlateLog, config: OffPolicyConfig) -> Estimate:
    """``mean(sum_k (w_1 ... w_k) r_k)``: a place's reward depends on it and those before (McInerney et al., KDD 2020).

    Here probabilities are of the item at its place given the places before, as exploring policies log them.
    """
    return _by_place("cascade", log, np.cumprod(log.weights, axis=1, dtype=np.float64), config)


def pseudo_inverse(  # noqa: PLR0917 - what a log and a target are made of
    slates: NDArray[np.int64],
    rewards: ArrayLike,
    pairs: Floats,
    targets: Floats,
    config: OffPolicyConfig,
    users: ArrayLike | None = None,
) -> Estimate:
    """``mean(r q' G^+ 1_s)``: a slate's reward is a sum over its places (Swaminathan et al., NIPS 2017).

    With ``1_s`` (K I,) one at each pair of a place and the item there, ``G = E[1_s 1_s']`` under the log and ``q =
    E[1_s]`` under the target. Both are the same for all rows: the policies know no context, or it is handled by calling
    this for each. The weights ``q' G^+ 1_s`` may be below 0; their effective sample size uses their absolute values.

    Args:
        slates: int64 (N, K), items from 0 to I - 1.
        rewards: (N,), of whole slates.
        pairs: ``G`` (K I, K I), place by place; `uniform_pairs` for slates drawn uniformly.
        targets: ``q`` (K, I), rows sum to 1.
        config: floors and level.
        users: (N,), whose slate it is, any labels.

    Raises:
        DataError: shapes differ.
        OverlapError: the target shows pairs that the log never shows, or another floor is not kept.
    """
    values = np.asarray(rewards, dtype=np.float64)
    n_places, n_items = targets.shape
    if slates.shape != (len(values), n_places) or pairs.shape != (targets.size, targets.size) or not len(values):
        raise DataError(
            f"slates {slates.shape}, rewards {values.shape}, pairs {pairs.shape} and targets {targets.shape} do not "
            "fit together; give N slates of K places, N rewards, K I pairs squared and K x I targets."
        )
    wanted = targets.ravel()
    unsupported = float(wanted[np.diag(pairs) <= 0].sum()) / n_places
    direction = np.linalg.pinv(pairs, hermitian=True) @ wanted
    places = np.arange(n_places) * n_items
    weights = direction[slates + places].sum(axis=1)
    groups = group(users, len(values))
    diagnostics = diagnose(np.abs(weights), groups, unsupported, config.model_copy(update={"weight_level": None}))
    influences = weights * values
    return Estimate(
        estimator="pseudo_inverse",
        value=float(influences.mean()),
        interval=interval(influences, groups, np.abs(weights), config.level),
        level=config.level,
        diagnostics=diagnostics,
    )


def uniform_pairs(n_places: int, n_items: int) -> Floats:
    """``G`` of slates drawn uniformly without repeats, (K I, K I): 1/I, and 1/(I (I - 1)) for two at two places."""
    places, items = (part.ravel() for part in np.meshgrid(np.arange(n_places), np.arange(n_items), indexing="ij"))
    both = (places[:, None] != places) & (items[:, None] != items)
    return np.eye(n_places * n_items) / n_items + both / max(1, n_items * (n_items - 1))


def _by_place(name: str, log: SlateLog, weights: Floats, config: OffPolicyConfig) -> Estimate:
    found = [diagnose(column, log.groups, log.unsupported, config) for column in weights.T]
    influences = (weights * log.reward).sum(axis=1)
    return Estimate(
        estimator=name,
        value=float(influences.mean()),
        interval=interval(influences, log.groups, weights.max(axis=1), config.level),
        level=config.level,
        diagnostics=min(found, key=lambda one: one.effective),
    )
