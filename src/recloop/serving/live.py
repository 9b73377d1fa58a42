"""What people did since the bundles were packaged: histories go on while a model serves.

A thread follows the store's events, from the oldest point up to which a served bundle knows them, or from the newest
`LiveConfig.kept` events if there are more. A request never waits for the store: it is answered by what has been read,
and while the store is away, by what was read before. An event that this worker has stored is looked up at once, one of
another worker within `LiveConfig.seconds`.
"""

from collections.abc import Callable, Iterable
from threading import Lock

from pydantic import Field

from recloop.config import Config
from recloop.serving.asking import Past
from recloop.serving.follow import Follower
from recloop.serving.people import EVER
from recloop.serving.recent import RecentEvents
from recloop.store import Store

BATCH = 10_000
"""Events that are taken from the store at once."""


class LiveConfig(Config):
    """How closely, and how much.

    Attributes:
        seconds: between two looks.
        events: how many events of one person are given, the newest.
        kept: how many events are kept of all people, the newest.
    """

    seconds: float = Field(default=0.5, gt=0)
    events: int = Field(default=200, ge=1)
    kept: int = Field(default=1_000_000, ge=1)


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
        config: LiveConfig | None = None,
    ) -> None:
        self._config = config or LiveConfig()
        self._erased = erased or (lambda _: None)
        self._recent = RecentEvents(self._config.kept)
        self._begun = 0
        self._from: int | None = None
        self._read: int | None = None
        self._changing = Lock()
        self._follower = Follower(
            open_store,
            self._look,
            seconds=self._config.seconds,
            name="histories",
            meanwhile="Histories go on without what is stored from now on",
        )
        self._follower.start()

    def since(self, user_id: str, seq: int) -> list[Past]:
        """What a user did after the event `seq`, in the order in which it was stored."""
        until, begin = self._erased(user_id), self._from
        if until == EVER or begin is None:
            return []
        if until is not None:
            self._recent.erase(user_id, until)
        return self._recent.of(user_id, max(seq, begin), self._config.events)

    def version(self, user_id: str) -> tuple[int, int]:
        """Another value whenever `since` may give another answer for this user, but for who was erased."""
        return self._begun, self._recent.newest(user_id)

    def reach(self, seqs: Iterable[int]) -> None:
        """Give what came after the smallest of these events, and nothing older; of none, give nothing."""
        oldest = min(seqs, default=None)
        with self._changing:
            if oldest is None or self._from is None or oldest < self._from:
                self._recent, self._read = RecentEvents(self._config.kept), None
            self._from = oldest
            self._begun += 1
        self.wake()

    def wake(self) -> None:
        """Look now: something was stored."""
        self._follower.wake()

    def close(self) -> None:
        """End the thread and give the store's connections back."""
        self._follower.close()

    def _look(self, store: Store) -> None:
        """Take what is new; the store is read without the lock, so nobody waits for it."""
        while not self._follower.closing.is_set():
            with self._changing:
                begin, recent, read = self._from, self._recent, self._read
            if begin is None:
                return
            if read is None:
                read = max(begin, store.last_event_seq() - self._config.kept)
            frame = next(iter(store.events_after(read, BATCH)), None)
            with self._changing:
                if recent is not self._recent:
                    continue
                self._read = read if frame is None else frame["seq"][-1]
                if frame is None:
                    return
                recent.add(frame)
