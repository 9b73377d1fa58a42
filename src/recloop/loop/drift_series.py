"""What the drift checks said, look by look: a series in the store's decisions, and how long a check has been at it.

The monitor records with each decision what the drift report of that moment held. A look at the same data as the one
before, with the same champion, is the same look: it adds nothing to a series and makes no drift last longer.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from recloop.store import Store

KEY = "drift_report"
MONITOR = "monitor"
_LOOKED_AT = 400
"""Newest looks that are read."""


def summary(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the record of a look keeps of a drift report: the verdict, what it was about, and each check.

    Args:
        report: content of `artifacts/drift/drift.json`; `None` before the first one.
    """
    if report is None:
        return None
    return {
        "verdict": report["verdict"],
        "about": [report.get("bundle"), report["current"]["to"], report["current"]["rows"]],
        "checks": {
            check["name"]: {name: check[name] for name in ("value", "threshold", "drifted")}
            for check in report["checks"]
        },
    }


def looks(store: Store, report: Mapping[str, Any] | None) -> int:
    """For how many looks in a row at the present champion a check of `report` has drifted: the most lasting one.

    This look counts. Looks that had too little to tell are passed over. 0 if no check of `report` has drifted.
    """
    now = summary(report)
    lasting = {name for name, check in now["checks"].items() if check["drifted"]} if now else set[str]()
    count, last = 0, None
    for found in [now, *_earlier(store)]:
        if found is None or found["verdict"] == "insufficient" or found["about"] == last:
            continue
        lasting &= {name for name, check in found["checks"].items() if check["drifted"]}
        if not lasting:
            break
        count, last = count + 1, found["about"]
    return count


def series(store: Store, limit: int = 30) -> dict[str, list[dict[str, Any]]]:
    """The last `limit` values of each check, oldest first, with time (ISO 8601), threshold, and whether it drifted."""
    found: dict[str, list[dict[str, Any]]] = {}
    last = None
    for row in reversed(store.decisions(limit=_LOOKED_AT, kind=MONITOR)):
        report = row.record.get(KEY)
        if report is None or report["about"] == last:
            continue
        last = report["about"]
        moment = datetime.fromtimestamp(row.timestamp / 1e6, tz=UTC).isoformat(timespec="seconds")
        for name, check in report["checks"].items():
            found.setdefault(name, []).append({"time": moment, **check})
    return {name: points[-limit:] for name, points in sorted(found.items())}


def _earlier(store: Store) -> Iterator[dict[str, Any] | None]:
    """The reports of earlier looks at the present champion, newest first."""
    champion = store.champion()
    for row in store.decisions(limit=_LOOKED_AT, kind=MONITOR):
        if champion is not None and row.timestamp < champion.timestamp:
            return
        yield row.record.get(KEY)
