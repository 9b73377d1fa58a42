"""The newest events of all people, of which those of one person are found at once.

The events lie in columns, in the order in which they came, and each knows the number of the one before it of the same
person; the newest overwrite the oldest. So memory is bounded by the number of events, 36 bytes each besides the ids,
whoever they belong to.
"""

from sys import intern
from threading import Lock

import numpy as np
import polars as pl

from recloop.columns import ITEM, TIME, USER, VALUE
from recloop.serving.asking import Past

_NONE = -1


class RecentEvents:
    """The newest `capacity` events. One thread adds; any thread reads, and none waits for the one that adds.

    Args:
        capacity: how many events are kept, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        assert capacity >= 1
        self._capacity = capacity
        self._seqs = np.zeros(capacity, dtype=np.int64)
        self._moments = np.zeros(capacity, dtype=np.int64)
        self._values = np.zeros(capacity, dtype=np.float32)
        self._items = np.full(capacity, None, dtype=object)
        self._before = np.full(capacity, _NONE, dtype=np.int64)
        self._newest: dict[str, int] = {}
        self._end = self._oldest = self._swept = 0
        self._changing = Lock()

    def add(self, events: pl.DataFrame) -> None:
        """Take events, which come after all that were taken before: `user_id`, `item_id`, `seq`, `timestamp`, `value`.

        An event without a value counts as 1.
        """
        for begin in range(0, events.height, self._capacity):
            self._add(events.slice(begin, self._capacity))

    def of(self, user_id: str, seq: int, limit: int) -> list[Past]:
        """The newest `limit` events of a user after the event `seq`, in the order in which they came."""
        found: list[Past] = []
        number = self._newest.get(user_id, _NONE)
        while number >= self._oldest and len(found) < limit:
            slot = number % self._capacity
            item, before = self._items[slot], int(self._before[slot])
            moment, value = int(self._moments[slot]), float(self._values[slot])
            if self._seqs[slot] <= seq or number < self._oldest:  # the latter: overwritten while it was read
                break
            if item is not None:
                found.append(Past(item_id=item, timestamp=moment, value=value))
            number = before
        return found[::-1]

    def newest(self, user_id: str) -> int:
        """The number of a user's newest event; another one whenever something of theirs came."""
        return self._newest.get(user_id, _NONE)

    def erase(self, user_id: str, until: int) -> None:
        """Keep nothing of what a user did until this moment, microseconds since 1970 UTC."""
        with self._changing:
            number, left = self._newest.get(user_id, _NONE), False
            while number >= self._oldest:
                slot = number % self._capacity
                if self._moments[slot] <= until:
                    self._items[slot] = None
                left = left or self._items[slot] is not None
                number = int(self._before[slot])
            if not left:
                self._newest.pop(user_id, None)

    def _add(self, events: pl.DataFrame) -> None:
        numbers = np.arange(self._end, self._end + events.height)
        slots = numbers % self._capacity
        order = events.select(USER, pl.Series("number", numbers)).with_columns(
            pl.col("number").shift(1).over(USER).alias("before")
        )
        first, last = order.filter(pl.col("before").is_null()), order.group_by(USER).agg(pl.col("number").max())
        before = order["before"].fill_null(_NONE).to_numpy().copy()
        with self._changing:
            before[first["number"].to_numpy() - self._end] = [self._newest.get(user, _NONE) for user in first[USER]]
            # whoever reads sees first that the old events are gone, and the new ones once they are whole
            self._oldest = max(0, self._end + events.height - self._capacity)
            self._seqs[slots] = events["seq"]
            self._moments[slots] = events[TIME]
            self._values[slots] = events[VALUE].fill_null(1.0)
            self._items[slots] = [intern(item) for item in events[ITEM]]
            self._before[slots] = before
            self._newest.update(zip(last[USER], last["number"], strict=True))
            self._end += events.height
            if self._end - self._swept >= self._capacity:
                self._newest = {user: number for user, number in self._newest.items() if number >= self._oldest}
                self._swept = self._end
