"""What was logged, checked once: rewards, and how likely both policies were to do what was done.

Shapes: N rows, K positions, G units (people, or rows where people are not known).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recloop.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Log:
    """What all logs hold, each array of the shape that `axes` name; see `Log` and `SlateLog`."""

    axes: ClassVar[tuple[str, ...]]

    rewards: NDArray[np.floating]
    propensities: NDArray[np.floating]
    targets: NDArray[np.floating]
    clusters: NDArray[np.generic] | None = None
    missing: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        shape = check_rewards(self.rewards, self.axes)
        _check_probabilities(self, shape)
        check_clusters(self.clusters, shape[0])

    @property
    def weights(self) -> Floats:
        """Target over propensity, of the shape of both."""
        return np.divide(self.targets, self.propensities, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Log(_Log):
    """N actions that one policy took, seen by another.

    Attributes:
        rewards: (N,), what each action earned; any finite number.
        propensities: (N,), the probability, in (0, 1], with which the logging policy took this action there and then.
        targets: (N,), the probability, in [0, 1], with which the target policy would have taken it.
        clusters: (N,) or `None`, who each row is about, any kind of id; rows of one person depend on each other. `None`
            takes every row for itself.
        missing: (N,) or `None`, how much of the target's probability, in [0, 1], is on actions that the logging policy
            could not take there and then. `None`: not known; only the mean of the weights may then give it away.

    Raises:
        DataError: there is no row, an array has another length, or a value breaks its rule.
    """

    axes: ClassVar[tuple[str, ...]] = ("N",)


@dataclass(frozen=True, kw_only=True)
class SlateLog(_Log):
    """N slates of K positions, each position with a reward of its own.

    A slate shorter than K is filled up with reward 0 and probabilities of 1, which changes no estimate.

    Attributes:
        rewards: (N, K), what each position earned; any finite number.
        propensities: (N, K), the probability, in (0, 1], of the shown item at its position under the logging policy:
            over all its slates for `item_position`, given the items shown above for `cascade`.
        targets: (N, K), in [0, 1], the same under the target policy.
        clusters: (N,) or `None`, as in `Log`.
        missing: (N, K) or `None`, as in `Log`, with the same condition as `propensities`.

    Raises:
        DataError: as `Log`.
    """

    axes: ClassVar[tuple[str, ...]] = ("N", "K")


def units(clusters: NDArray[np.generic] | None, rows: int) -> NDArray[np.intp]:
    """(N,), the number of each row's unit, from 0 to G - 1: a cluster, or the row itself."""
    if clusters is None:
        return np.arange(rows)
    return np.unique(clusters, return_inverse=True)[1]


def check_rewards(rewards: NDArray[np.floating], axes: tuple[str, ...]) -> tuple[int, ...]:
    """The shape of `rewards`, which must have these axes, at least one row, and finite numbers."""
    shape = np.shape(rewards)
    if len(shape) != len(axes):
        raise DataError(f"rewards has the shape {shape}, which must be ({', '.join(axes)}); give one value for each.")
    if not np.size(rewards):
        raise DataError("The log has no rows, and an estimate needs some; log requests with their propensities first.")
    check_values(
        "rewards", rewards, shape, np.isfinite(rewards), "rewards are finite numbers; drop or correct the row."
    )
    return shape


def check_values(
    name: str, values: NDArray[np.generic], shape: tuple[int, ...], valid: NDArray[np.bool_], rule: str
) -> None:
    """Every value of an array of the log must be valid; the first that is not is named."""
    if np.shape(values) != shape:
        raise DataError(
            f"{name} has the shape {np.shape(values)} and must have {shape}, as the other arrays of the log."
        )
    if not valid.all():
        at = np.argwhere(~valid)[0]
        raise DataError(f"{name}[{', '.join(map(str, at))}] is {values[tuple(at)]}, but {rule}")


def check_clusters(clusters: NDArray[np.generic] | None, rows: int) -> None:
    """Clusters, if any, are one id a row."""
    if clusters is not None and np.shape(clusters) != (rows,):
        raise DataError(f"clusters has the shape {np.shape(clusters)} and must have ({rows},); give one id a row.")


def _check_probabilities(log: _Log, shape: tuple[int, ...]) -> None:
    check_values(
        "propensities",
        log.propensities,
        shape,
        (np.asarray(log.propensities) > 0) & (np.asarray(log.propensities) <= 1),
        "the log took that action with a probability in (0, 1]; log exact propensities and leave out rows without one.",
    )
    rule = "a probability lies in [0, 1]; compute it from the target policy at that request."
    for name, values in (("targets", log.targets), ("missing", log.missing)):
        if values is not None:
            check_values(name, values, shape, (np.asarray(values) >= 0) & (np.asarray(values) <= 1), rule)
