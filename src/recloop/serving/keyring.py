"""The API keys that count now, in memory, so that checking one costs a hash and a look into a dictionary."""

import logging
from collections.abc import Callable, Mapping

from recloop.serving.follow import Follower
from recloop.store import ApiKey, Store
from recloop.store.keys import digest

FOLLOW_SECONDS = 2.0
"""How often the store is asked for the keys: how long a revoked key counts."""
START_SECONDS = 10.0
"""How long the first answer of the store is waited for."""
NO_KEYS = (
    "API keys are required, but the store holds none that counts, so every call is refused; make one with "
    "'recloop keys create NAME --scope recommend'."
)
_log = logging.getLogger("bentoml.recloop")


class Holder:
    """One key with its token bucket: `burst` tokens at most, `rate` of them coming back each second.

    The bucket is this worker's own. Not for several threads: requests take from it in the event loop.

    Args:
        key: whose.
    """

    def __init__(self, key: ApiKey) -> None:
        self.id, self.scopes, self.rate = key.id, frozenset(key.scopes), key.rate
        self._burst = float(key.burst or 1)
        self._tokens, self._at = self._burst, 0.0

    def take(self, now: float) -> float:
        """Take a token; 0, or how many seconds it is until there is one.

        Args:
            now: seconds of a clock that never goes back.
        """
        if self.rate is None:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self.rate
        self._tokens -= 1.0
        return 0.0


class Keyring:
    """Follows the store's keys, in a thread of its own that ends with `close` or with the process.

    While the store is away, the keys that were read last count. Of a key only the digest is ever kept.

    Args:
        open_store: connects to the store; called again whenever the connection was lost.
        seconds: between two looks.
    """

    def __init__(self, open_store: Callable[[], Store], seconds: float = FOLLOW_SECONDS) -> None:
        self._open_store = open_store
        self._holders: Mapping[str, Holder] | None = None
        self._told = False
        self._follower = Follower(
            open_store, self._look, seconds=seconds, name="keys", meanwhile="Whether the API keys changed is not known"
        )
        self._follower.start()
        self._follower.looked.wait(START_SECONDS)

    @property
    def known(self) -> bool:
        """Whether the store's keys were ever read."""
        return self._holders is not None

    def find(self, key: bytes) -> Holder | None:
        """Who holds this key; `None` if nobody does, or it was revoked."""
        holders = self._holders
        return None if holders is None else holders.get(digest(key))

    def refused(self, holder: Holder, action: str) -> None:
        """Record that the holder of a key was refused something for want of a scope.

        Raises:
            StoreError: the store cannot be reached; nothing was recorded.
        """
        with self._open_store() as store:
            store.audit(actor=holder.id, action=action, outcome="refused")

    def close(self) -> None:
        """End the thread and give the store's connections back."""
        self._follower.close()

    def _look(self, store: Store) -> None:
        before = self._holders or {}
        counting = [key for key in store.api_keys() if key.revoked is None]
        self._holders = {key.digest: before.get(key.digest) or Holder(key) for key in counting}
        if not counting and not self._told:
            _log.error(NO_KEYS)
        self._told = not counting
