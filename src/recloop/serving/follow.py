"""Threads that follow the store while a model serves: requests never wait for it."""

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread

from recloop.errors import StoreError
from recloop.store import Store

CLOSE_SECONDS = 5.0
"""How long `close` waits for a look that is under way."""

_log = logging.getLogger("bentoml.recloop")


class Follower:
    """Calls `look` with the open store, again and again, in a thread of its own that ends with `close` or the process.

    When the store cannot be reached, that is logged once, and it is connected anew at the next look. Whatever else
    goes wrong in a look is logged, and the next one is taken all the same. Methods may be called by several threads.

    Attributes:
        looked: set once the first look has ended, well or not.
        closing: set once the follower is to end; a long look goes by it.

    Args:
        open_store: connects to the store; called in the thread.
        look: what to do with it.
        seconds: between two looks.
        name: of the thread.
        meanwhile: what it means that the store is away, a clause that the reason is written after.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        look: Callable[[Store], None],
        *,
        seconds: float,
        name: str,
        meanwhile: str,
    ) -> None:
        self.looked, self.closing = Event(), Event()
        self._open_store, self._look, self._seconds = open_store, look, seconds
        self._name, self._meanwhile = name, meanwhile
        self._store: Store | None = None
        self._reachable = True
        self._waking, self._starting = Event(), Lock()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin, unless that has happened or it was closed."""
        with self._starting:
            if self._thread is None and not self.closing.is_set():
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._waking.set()

    def close(self) -> None:
        """End the thread and give the store's connections back."""
        with self._starting:
            self.closing.set()
        self._waking.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self.closing.is_set():
            self._waking.clear()
            if self._looks():
                self._waking.wait(self._seconds)
            else:
                self.closing.wait(self._seconds)  # whoever wakes it cannot bring the store back
        self._disconnect()

    def _looks(self) -> bool:
        """Look once; whether that went well."""
        try:
            if self._store is None:
                self._store = self._open_store()
            self._look(self._store)
        except StoreError as error:
            if self._reachable:
                _log.error("%s: %s", self._meanwhile, error)
            self._reachable = False
            self._disconnect()
            return False
        except Exception:  # noqa: BLE001 - a thread that died would follow no longer
            _log.exception("%s.", self._meanwhile)
            return False
        finally:
            self.looked.set()
        self._reachable = True
        return True

    def _disconnect(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None
