"""What people did since the bundles were packaged: histories go on while a model serves.

A thread follows the store's events, from the oldest point up to which a served bundle knows them. A request never waits
for the store: it is answered by what has been read, and while the store is away, by what was read before. An event that
this worker has stored is looked up at once, one of another worker within `FollowConfig.seconds`.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from typing import NamedTuple

import polars as pl
from pydantic import Field

from recloop.columns import ITEM, TIME, USER, VALUE
from recloop.config import Config
from recloop.errors import StoreError
from recloop.serving.people import EVER
from recloop.serving.recommender import Past
from recloop.store import Store

_log = logging.getLogger("bentoml.recloop")


class FollowConfig(Config):
    """How closely, and how much.

    Attributes:
        seconds: between two looks.
        events: how many events of one person are kept, the newest.
        people: how many people are kept, those who acted last.
    """

    seconds: float = Field(default=0.5, gt=0)
    events: int = Field(default=200, ge=1)
    people: int = Field(default=200_000, ge=1)


class _Recent(NamedTuple):
    """An event of the store; a `Past` is made of it when it is asked for, since most never are."""

    seq: int
    item_id: str
    timestamp: int
    value: float

    def past(self) -> Past:
        return Past(item_id=self.item_id, timestamp=self.timestamp, value=self.value)


class LiveHistories:
    """The newest events of each person. Its methods may be called by several threads.

    Args:
        open_store: connects to the store; called in the thread, and again whenever the connection was lost.
        erased: see `Recommender`; what a person did until then is not given and not kept.
        config: sizes and times.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        erased: Callable[[str], int | None] | None = None,
        config: FollowConfig | None = None,
    ) -> None:
        self._open_store, self._config = open_store, config or FollowConfig()
        self._erased = erased or (lambda _: None)
        self._store: Store | None = None
        self._people: OrderedDict[str, tuple[_Recent, ...]] = OrderedDict()
        self._from: int | None = None
        self._read = 0
        self._reachable = True
        self._changing = Lock()
        self._waking, self._closing = Event(), Event()
        self._thread = Thread(target=self._run, name="histories", daemon=True)
        self._thread.start()

    def since(self, user_id: str, seq: int) -> list[Past]:
        """What a user did after the event `seq`, in the order in which it was stored."""
        until = self._erased(user_id)
        if until == EVER:
            return []
        if until is not None:
            self._drop(user_id, until)
        return [event.past() for event in self._people.get(user_id, ()) if event.seq > seq]

    def reach(self, seqs: Iterable[int]) -> None:
        """Keep what came after the smallest of these events, and nothing older; of none, keep nothing."""
        oldest = min(seqs, default=None)
        with self._changing:
            if oldest is None or self._from is None or oldest < self._from:
                self._people, self._read = OrderedDict(), oldest or 0
            elif oldest > self._from:
                later = ((user, tuple(one for one in kept if one.seq > oldest)) for user, kept in self._people.items())
                self._people = OrderedDict((user, kept) for user, kept in later if kept)
            self._from = oldest
        self.wake()

    def wake(self) -> None:
        """Look now: something was stored."""
        self._waking.set()

    def close(self) -> None:
        """End the thread and give the store's connections back."""
        self._closing.set()
        self._waking.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._waking.wait(self._config.seconds)
            self._waking.clear()
            try:
                self._look()
            except StoreError as error:
                if self._reachable:
                    _log.error("Histories go on without what is stored from now on: %s", error)
                self._reachable = False
                self._disconnect()
                self._closing.wait(self._config.seconds)
            except Exception:  # noqa: BLE001 - a thread that died would follow no longer
                _log.exception("Histories stay as they are.")
                self._closing.wait(self._config.seconds)
            else:
                self._reachable = True
        self._disconnect()

    def _look(self) -> None:
        """Take what is new; the store is read without the lock, so nobody waits for it."""
        while self._from is not None and not self._closing.is_set():
            if self._store is None:
                self._store = self._open_store()
            begun = self._from, self._read
            frame = next(iter(self._store.events_after(begun[1])), None)
            with self._changing:
                if (self._from, self._read) != begun:
                    continue
                if frame is None:
                    return
                self._take(frame)
                self._read = frame["seq"][-1]

    def _take(self, frame: pl.DataFrame) -> None:
        columns = frame.select(USER, "seq", ITEM, TIME, pl.col(VALUE).fill_null(1.0))
        for user, *values in columns.iter_rows():
            event = _Recent._make(values)
            self._people[user] = (*self._people.get(user, ()), event)[-self._config.events :]
            self._people.move_to_end(user)
        while len(self._people) > self._config.people:
            del self._people[next(iter(self._people))]

    def _drop(self, user_id: str, until: int) -> None:
        with self._changing:
            kept = tuple(event for event in self._people.get(user_id, ()) if event.timestamp > until)
            if kept:
                self._people[user_id] = kept
            else:
                self._people.pop(user_id, None)

    def _disconnect(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None
