"""Slices: parts of the questions that are reported, and can be protected, by themselves.

A slice is a function from `Facts` to a boolean an example, entered in `SLICES`. Facts are in terms of raw ids, so a
slice holds the same questions whichever model answers them, with whichever catalogue.

Shapes: E examples, U users, I items of train, validation and test, T targets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recloop.data.sequences import Examples

COLD = 5
HEAD = 0.8

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the questions, apart from any model.

    Attributes:
        examples: the questions, in indices of all I items that occur anywhere.
        trained: int64 (U,), training events of each row of ``examples.histories``.
        popularity: int64 (I,), training events of each item.
    """

    examples: Examples
    trained: NDArray[np.int64]
    popularity: NDArray[np.int64]

    @cached_property
    def activity(self) -> NDArray[np.int64]:
        """Events known of a user when the last question about them is asked, (U,); 0 where none is asked."""
        activity = np.zeros(len(self.trained), dtype=np.int64)
        np.maximum.at(activity, self.examples.users, self.examples.stops)
        return activity

    @cached_property
    def tail(self) -> Mask:
        """Which items are outside the head, (I,).

        The head holds the items of most training events, ties by index, until they make up `HEAD` of these events.
        Items without training events are tail.
        """
        order = np.argsort(-self.popularity, kind="stable")
        events = self.popularity[order]
        before = np.cumsum(events) - events
        tail = np.ones(len(order), dtype=bool)
        tail[order] = (before >= HEAD * self.popularity.sum()) | (events == 0)
        return tail

    def terciles(self) -> tuple[float, float]:
        """The activity that a third, and two thirds, of the users who are asked about do not exceed."""
        asked = self.activity[np.unique(self.examples.users)]
        low, high = np.quantile(asked, [1 / 3, 2 / 3], method="inverted_cdf")
        return float(low), float(high)


def cold_users(facts: Facts) -> Mask:
    """Fewer than `COLD` events of the user lie before the question."""
    return facts.examples.stops < COLD


def new_users(facts: Facts) -> Mask:
    """The user has no event in the training window; there may be some between it and the question."""
    return facts.trained[facts.examples.users] == 0


def tail_items(facts: Facts) -> Mask:
    """More than half of the right answers are tail items, see `Facts.tail`."""
    lengths = np.diff(facts.examples.offsets)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    return 2 * np.bincount(owners, weights=facts.tail[facts.examples.targets], minlength=len(lengths)) > lengths


def activity_low(facts: Facts) -> Mask:
    """The user is in the least active third: `Facts.activity` is at most its lower tercile."""
    return facts.activity[facts.examples.users] <= facts.terciles()[0]


def activity_high(facts: Facts) -> Mask:
    """The user is in the most active third: `Facts.activity` exceeds its upper tercile."""
    return facts.activity[facts.examples.users] > facts.terciles()[1]


SLICES: dict[str, Callable[[Facts], Mask]] = {
    slice_.__name__: slice_ for slice_ in (cold_users, new_users, tail_items, activity_low, activity_high)
}
