"""What has been let out about the people in the data: the privacy ledger, in the store.

A bundle is let out when it is first put into traffic, as champion, canary or shadow. Its cost is written to the store's
decisions before that, so what was let out is in the ledger wherever a kill falls, and once, however often a command is
repeated. Costs add up (basic composition: Dwork and Roth, "The algorithmic foundations of differential privacy", 2014,
section 3.5): a person whose events all these bundles were trained on has spent the sums, and anybody else less.
"""

from collections.abc import Mapping
from typing import Any

from recloop.store import Store

KIND = "privacy"
_ALL = 1 << 31


def note(store: Store, manifest: Mapping[str, Any]) -> None:
    """Write what a bundle costs, unless it is written already or the bundle is not private."""
    cost, bundle = manifest.get("privacy"), manifest["id"]
    if cost and bundle not in {row.record["bundle"] for row in store.decisions(limit=_ALL, kind=KIND)}:
        store.decide(KIND, "spent", {"bundle": bundle, **cost})


def spent(store: Store) -> dict[str, Any] | None:
    """What all bundles that were ever in traffic have cost together; `None` where none of them is private.

    Keys: `unit`, `epsilon` and `delta` (sums over the private bundles; `epsilon` is None where others were in traffic
    too, as nothing bounds what those have let out), `private` (the rows of the ledger, oldest first), `others` (ids of
    the bundles that were trained without privacy).
    """
    rows = [row.record for row in reversed(store.decisions(limit=_ALL, kind=KIND))]
    if not rows:
        return None
    known = {row["bundle"] for row in rows}
    others = sorted({row.bundle for row in store.deployments()} - known)
    return {
        "unit": rows[0]["unit"],
        "epsilon": None if others else sum(row["epsilon"] for row in rows),
        "delta": sum(row["delta"] for row in rows),
        "private": rows,
        "others": others,
    }
