"""The running service, as an app uses it: over HTTP."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import httpx

from recloop.errors import RecloopError
from recloop.simulation.crowd import Visit
from recloop.store import Event

_BATCH = 500
_FOLLOW_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A slate that the service answered with."""

    request_id: str
    items: list[str]
    bundle: str
    fallback: str | None


class Site:
    """A service at an address.

    Args:
        url: of the service.
        k: how many items to ask for.
    """

    def __init__(self, url: str, k: int) -> None:
        self._client, self._k = httpx.Client(base_url=url, timeout=60), k

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def recommend(self, visit: Visit) -> Shown:
        """Ask for a slate."""
        body: dict[str, Any] = {"user_id": visit.user_id, "k": self._k}
        if visit.history is not None:
            body["history"] = visit.history
        answer = self._post("/recommend", body)
        return Shown(
            request_id=answer["request_id"],
            items=[item["item_id"] for item in answer["items"]],
            bundle=answer["bundle"],
            fallback=answer["fallback"],
        )

    def feedback(self, acts: Sequence[Event]) -> None:
        """Send events.

        Raises:
            RecloopError: the service did not take them all.
        """
        for start in range(0, len(acts), _BATCH):
            batch = [body(act) for act in acts[start : start + _BATCH]]
            answer = self._post("/feedback", {"events": batch})
            if answer["accepted"] != len(batch):
                raise RecloopError(f"The service took {answer['accepted']} of {len(batch)} events: {answer}.")

    def follow(self, bundle: str) -> None:
        """Wait until the service answers with this bundle; it looks at the store about once a second."""
        deadline = time.monotonic() + _FOLLOW_SECONDS
        while self._client.get("/model").raise_for_status().json()["plan"]["champion"] != bundle:
            if time.monotonic() > deadline:
                raise RecloopError(f"The service does not serve {bundle}, which is in charge; its log says why.")
            time.sleep(0.2)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.post(path, json=body)
        if not answer.is_success:
            raise RecloopError(f"The service answered {path} with {answer.status_code}: {answer.text[:300]}")
        return answer.json()


def body(act: Event) -> dict[str, Any]:
    """An event as ``/feedback`` takes it."""
    return {name: value for name, value in asdict(act).items() if value is not None} | {
        "timestamp": act.timestamp / 1e6
    }
