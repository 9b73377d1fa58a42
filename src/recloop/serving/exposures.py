"""The log of what was served. It never makes a request wait, so it may lose slates; what it loses is counted.

A request puts its slate into a bounded queue; one thread writes the queue to the store in batches, a batch a commit. A
slate leaves the queue when it is committed. So

- while the store is away the batch in hand is tried again and again, and the queue fills;
- a slate that finds the queue full is dropped, and so is one that the store refuses;
- a process that is killed loses at most `capacity` slates, those that waited.

Every slate has a number within its process, given before anything can be lost: what is missing between the slates that
are stored is found in the store afterwards (`Store.slate_gaps`).
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from threading import Condition, Event, Thread
from uuid import uuid4

from pydantic import Field

from recloop.config import Config
from recloop.errors import RefusedValueError, StoreError
from recloop.serving import counters
from recloop.store import Exposure, Slate, Store

_log = logging.getLogger("bentoml.recloop")


class ExposureConfig(Config):
    """How the log of served slates works.

    Attributes:
        capacity: slates that wait for the store at most; one more is dropped.
        batch: slates in one commit at most.
        age_seconds: how long a slate waits for its batch to fill.
        retry_seconds: pause after the store failed.
        close_seconds: how long `close` waits for what is left.
    """

    capacity: int = Field(default=10_000, ge=1)
    batch: int = Field(default=2_000, ge=1)
    age_seconds: float = Field(default=0.5, ge=0)
    retry_seconds: float = Field(default=1.0, gt=0)
    close_seconds: float = Field(default=5.0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What became of the slates that were put; each is in exactly one of the three.

    Attributes:
        logged: in the store.
        dropped: lost: the queue was full, the store refused them, or the log was closed.
        queued: on their way.
    """

    logged: int
    dropped: int
    queued: int


class ExposureLog:
    """Writes served slates to the store, in a thread of its own that ends with `close` or with the process.

    `put` may be called by several threads. After a fork, make another.

    Args:
        open_store: connects to the store; called in the log's thread, when there is a slate and whenever the
            connection was lost.
        config: sizes and times.
    """

    def __init__(self, open_store: Callable[[], Store], config: ExposureConfig | None = None) -> None:
        self.worker = uuid4().hex
        self._open_store = open_store
        self._config = config or ExposureConfig()
        self._store: Store | None = None
        self._queue: deque[tuple[int, Exposure]] = deque()
        self._changed = Condition()
        self._closing = Event()
        self._serial = 0
        self._logged = 0
        self._dropped = 0
        self._given_up = Event()
        self._thread = Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    def put(self, exposure: Exposure) -> bool:
        """Hand over one slate; False if it was dropped. Returns at once, whatever the store does."""
        with self._changed:
            serial, waiting = self._serial, len(self._queue)
            self._serial += 1
            kept = waiting < self._config.capacity and not self._closing.is_set()
            if kept:
                self._queue.append((serial, exposure))
                if waiting == 0 or waiting + 1 == self._config.batch:
                    self._changed.notify()
            else:
                self._dropped += 1
        if not kept:
            counters.count_slates("dropped", 1)
        return kept

    def counts(self) -> Counts:
        """What became of the slates that were put so far."""
        with self._changed:
            return Counts(logged=self._logged, dropped=self._dropped, queued=len(self._queue))

    def close(self) -> Counts:
        """Write what is left, for `close_seconds` at most, drop what then still waits, and give the final counts."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join(self._config.close_seconds)
        with self._changed:
            self._given_up.set()
            left = len(self._queue)
            self._dropped += left
            self._queue.clear()
        if left:
            _log.error("%d slates could not be logged before the end.", left)
            counters.count_slates("dropped", left)
        counters.show_waiting_slates(0)
        return self.counts()

    def _run(self) -> None:
        while batch := self._next():
            self._write(batch)
            with self._changed:
                waiting = len(self._queue)
            counters.show_waiting_slates(waiting)
        self._disconnect()

    def _next(self) -> list[tuple[int, Exposure]]:
        """The oldest slates, which stay in the queue: a full batch, or what has come in time; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing.is_set())
            self._changed.wait_for(
                lambda: len(self._queue) >= self._config.batch or self._closing.is_set(), self._config.age_seconds
            )
            return list(islice(self._queue, self._config.batch))

    def _write(self, batch: list[tuple[int, Exposure]]) -> None:
        """Write a batch, however long it takes; a slate that the store refuses does not hold up the others."""
        slates = [Slate(**vars(exposure), worker=self.worker, serial=serial) for serial, exposure in batch]
        failures = 0
        while not self._given_up.is_set():
            try:
                self._connected().add_slates(slates)
            except RefusedValueError as error:
                self._divide(batch, error)
                return
            except StoreError as error:
                if not failures:
                    _log.error("Slates wait for the store: %s", error)
                failures += 1
                counters.show_waiting_slates(len(self._queue))
                self._disconnect()
                self._given_up.wait(self._config.retry_seconds)
            except Exception as error:  # noqa: BLE001 - a thread that died of one slate would lose all later ones
                self._divide(batch, error)
                return
            else:
                if failures:
                    _log.info("The store takes slates again.")
                self._done(len(batch), logged=True)
                return

    def _divide(self, batch: list[tuple[int, Exposure]], error: Exception) -> None:
        """Write both halves of a refused batch by themselves, down to the slate that is to blame, which is dropped."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._write(batch[:middle])
            self._write(batch[middle:])
            return
        _log.error("A slate cannot be logged and is dropped: %s", error)
        self._done(1, logged=False)

    def _done(self, slates: int, *, logged: bool) -> None:
        """Take the oldest slates from the queue, now that their fate is known."""
        with self._changed:
            if self._given_up.is_set():
                return
            for _ in range(slates):
                self._queue.popleft()
            self._logged += slates if logged else 0
            self._dropped += 0 if logged else slates
        counters.count_slates("logged" if logged else "dropped", slates)

    def _connected(self) -> Store:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _disconnect(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
