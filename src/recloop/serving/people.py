"""Who was erased: their history in the bundle is not used any more, though the bundle still holds it."""

from collections.abc import Callable
from threading import Lock

from recloop.serving.access import ANYONE
from recloop.serving.follow import Follower
from recloop.store import Erased, Erasure, Store

FOLLOW_SECONDS = 5.0
"""How often the store is asked who was erased."""
START_SECONDS = 10.0
"""How long the first answer of the store is waited for."""
EVER = (1 << 63) - 1
"""Until when everybody counts as erased as long as the store was never asked."""


class ErasedPeople:
    """Follows the store's erasures, in a thread of its own that ends with `close` or with the process.

    A request never waits for the store: it is answered by the list that was read last. As long as none was ever read,
    anybody may have been erased, so everybody counts as erased. Methods may be called by several threads.

    Args:
        open_store: connects to the store; called again whenever the connection was lost.
        seconds: between two looks.
    """

    def __init__(self, open_store: Callable[[], Store], seconds: float = FOLLOW_SECONDS) -> None:
        self._open_store = open_store
        self._erased: Erased | None = None
        self._looking = Lock()
        self._follower = Follower(
            open_store,
            self._look,
            seconds=seconds,
            name="erased",
            meanwhile="Whether more people were erased is not known",
        )
        self._follower.start()
        self._follower.looked.wait(START_SECONDS)

    def until(self, user_id: str) -> int | None:
        """What this user did until this moment is erased, microseconds since 1970 UTC; `None` if nothing is."""
        erased = self._erased
        return EVER if erased is None else erased.until(user_id)

    def erase(self, user_id: str, asked_by: str, actor: str = ANYONE) -> Erasure:
        """Take a person out of the store; this process knows it at once, others within `seconds`.

        Args:
            user_id: who.
            asked_by: kept with the erasure.
            actor: kept in the audit, the id of an API key.

        Raises:
            StoreError: the store cannot be reached; nothing was erased.
        """
        with self._open_store() as store:
            erasure = store.erase(user_id, asked_by, actor=actor)
            with self._looking:
                self._erased = store.erased(self._erased)
        return erasure

    def close(self) -> None:
        """End the thread and give the store's connections back."""
        self._follower.close()

    def _look(self, store: Store) -> None:
        with self._looking:
            self._erased = store.erased(self._erased)
