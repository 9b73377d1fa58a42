"""What happens at night: the project's flows, run by its Prefect server."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from recloop.clock import now
from recloop.data.tables import read_json
from recloop.errors import RecloopError
from recloop.loop.decision import MONITOR, RETRAIN
from recloop.store import Decision, Store

_BUSY, _BUSY_SECONDS = 503, 60.0
_POLL_SECONDS = 0.5
_ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
_RUN_SECONDS = 3600.0
_DRIFT = Path("artifacts/drift/drift.json")


@dataclass(frozen=True, kw_only=True)
class Night:
    """What was decided and done after a day.

    Attributes:
        day: counted from 0.
        verdict: of the monitor; `None` where it was not asked.
        reasons: its reasons.
        drifted: the drift checks above their thresholds.
        retrained: what the retraining came to, in its own words; `None` where there was none.
        model: the champion's model on the next day.
        bundle: its bundle.
    """

    day: int
    verdict: str | None = None
    reasons: list[str] = field(default_factory=list[str])
    drifted: list[str] = field(default_factory=list[str])
    retrained: str | None = None
    model: str
    bundle: str


class Nights:
    """The flows of one project.

    Args:
        root: the project.
        api: address of its Prefect server's API.
        store: the project's.
        regime: ``closed`` (the monitor decides), ``daily`` (retraining every night) or ``never``.
    """

    def __init__(self, root: Path, api: str, store: Store, regime: str) -> None:
        self._root, self._store, self._regime = root, store, regime
        self._client = httpx.Client(base_url=api, timeout=60)

    def first_model(self) -> Night:
        """Ingest the past, train the field, and put its winner in charge."""
        self._flow("train", source="files")
        decision = read_json(self._root / "artifacts/gate/decision.json")
        self._flow("deploy", action="promote", reason=decision["reasons"][0])
        return self._told(day=-1, retrained="the first model")

    def after(self, day: int) -> Night:
        """One night."""
        match self._regime:
            case "closed":
                self._flow("monitor")
                looked = self._store.decisions(limit=1, kind=MONITOR)[0]
                retrained = self._answered(looked) if looked.verdict == "retrain" else None
                return self._told(day=day, looked=looked, retrained=retrained)
            case "daily":
                return self._told(day=day, retrained=self._flow("retrain"))
            case _:
                return self._told(day=day)

    def _told(self, *, day: int, looked: Decision | None = None, retrained: str | None = None) -> Night:
        champion = self._store.champion()
        if champion is None:
            raise RecloopError(f"Nobody is in charge in {self._root}; its gate says why.")
        drift = read_json(self._root / _DRIFT) if looked else {"checks": []}
        return Night(
            day=day,
            verdict=looked.verdict if looked else None,
            reasons=looked.record["reasons"] if looked else [],
            drifted=[check["name"] for check in drift["checks"] if check["drifted"]],
            retrained=retrained,
            model=champion.model,
            bundle=champion.bundle,
        )

    def _flow(self, name: str, **parameters: Any) -> str:
        """Run a flow's deployment to its end; what it says of itself."""
        deployment = self._api("GET", f"/deployments/name/{name}/default")["id"]
        started = self._api("POST", f"/deployments/{deployment}/create_flow_run", parameters=parameters)
        deadline = time.monotonic() + _RUN_SECONDS
        while time.monotonic() < deadline:
            state = self._api("GET", f"/flow_runs/{started['id']}")["state"]
            if state["type"] in _ENDED:
                if state["type"] != "COMPLETED":
                    raise RecloopError(f"The flow {name} in {self._root} {state['type'].lower()}: {state['message']}")
                return state["message"]
            time.sleep(_POLL_SECONDS)
        raise RecloopError(f"The flow {name} in {self._root} did not end within an hour.")

    def _answered(self, looked: Decision) -> str:
        """Wait for the retraining that Prefect starts for a decision; what came of it."""
        deadline = time.monotonic() + _RUN_SECONDS
        while time.monotonic() < deadline:
            rows = self._store.decisions(limit=20, kind=RETRAIN)
            begun = next((row for row in rows if row.record.get("answers") == looked.seq), None)
            ended = begun and next((row for row in rows if row.record.get("begun") == begun.seq), None)
            if ended:
                return f"{ended.verdict}: {ended.record['outcome']}"
            time.sleep(_POLL_SECONDS)
        raise RecloopError(f"Nothing answered the decision to retrain of {now()} in {self._root} within an hour.")

    def _api(self, method: str, path: str, **body: Any) -> Any:
        """Ask the API; while its database is busy it says so, and is asked again."""
        deadline = time.monotonic() + _BUSY_SECONDS
        answer = self._client.request(method, path, json=body or None)
        while answer.status_code == _BUSY and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            answer = self._client.request(method, path, json=body or None)
        if not answer.is_success:
            raise RecloopError(f"Prefect answered {path} with {answer.status_code}: {answer.text[:300]}")
        return answer.json()
