"""Which bundle is in charge, and how that changes.

Three things say so: the last row of the store's deployments (the truth, which every worker follows), the folder
`artifacts/bundles/<id>` of the bundle, and the pointer `artifacts/champion/champion.json`, which the stages read. They
change in the order folder, row, pointer, each in one step: whatever is named exists and is whole at any moment, and
after a kill between two steps the same command again does the rest. Commands that change them run one after the other.
"""

import fcntl
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recloop.data.bundles import copy, read_manifest, verify
from recloop.data.tables import read_json, write_json
from recloop.errors import BundleError, DataError, StoreError
from recloop.loop import ledger
from recloop.loop.drift_series import series
from recloop.store import Deployment, Store
from recloop.store.records import changes
from recloop.store.traffic import plan

BUNDLE = Path("artifacts/bundle")
BUNDLES = Path("artifacts/bundles")
BENTO = "bento"
_BENTOS = 100
_RECENT = 100
CHAIN = ("model", "git_revision", "data", "params", "began_with", "privacy", "validation", "metrics", "decision")
POINTER = Path("artifacts/champion/champion.json")


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command did.

    Attributes:
        changed: whether another bundle is in charge now.
        bundle: id of the bundle in charge.
        model: its model's name.
        message: what happened, for a person.
    """

    changed: bool
    bundle: str
    model: str
    message: str


def promote(root: Path, store: Store, *, reason: str, bundle_folder: Path | None = None) -> Change:
    """Put a bundle in charge; if it is in charge already, nothing changes but a pointer that lags behind.

    Args:
        root: the project's root.
        store: where the deployment is recorded.
        reason: one sentence, kept with the deployment.
        bundle_folder: the bundle; by default `artifacts/bundle` of the root.

    Raises:
        BundleError: the bundle is missing or damaged; the file is named.
        StoreError: the store cannot be reached.
    """
    with alone(root):
        source = bundle_folder or root / BUNDLE
        manifest = verify(source)
        pointer = summary(source, manifest)
        keep(source, root / BUNDLES / pointer["bundle"])
        champion = store.champion()
        if champion and champion.bundle == pointer["bundle"]:
            write_json(pointer, root / POINTER)
            return _change(pointer, f"Bundle {champion.bundle} ({champion.model}) is already in charge.", changed=False)
        ledger.note(store, manifest)
        row = store.deploy("promote", pointer["bundle"], pointer["model"], reason)
        write_json(pointer, root / POINTER)
        return _change(pointer, f"Bundle {row.bundle} ({row.model}) is in charge now{_instead_of(row)}.", changed=True)


def rollback(root: Path, store: Store, *, reason: str) -> Change:
    """Put the bundle in charge that was there before the present one was promoted.

    Promotions pile up and each rollback takes one away: after promoting a, b and c, one rollback gives b, two give a.
    Where the last rollback was interrupted, so that the pointer lags behind, this completes it and goes no further.

    Raises:
        StoreError: nothing was promoted before, or the store cannot be reached.
        BundleError: the earlier bundle is missing or damaged; the one in charge stays.
    """
    with alone(root):
        history = changes(store.deployments())
        last = history[-1] if history else None
        begun = last is not None and last.action == "rollback" and _pointed(root) != last.bundle
        folder = root / BUNDLES / (last.bundle if last and begun else _earlier(history))
        pointer = summary(folder, verify(folder))
        if begun:
            write_json(pointer, root / POINTER)
            named = f"Bundle {pointer['bundle']} ({pointer['model']})"
            return _change(pointer, f"{named} is in charge: the interrupted rollback is complete.", changed=False)
        row = store.deploy("rollback", pointer["bundle"], pointer["model"], reason)
        write_json(pointer, root / POINTER)
        return _change(
            pointer, f"Bundle {row.bundle} ({row.model}) is in charge again{_instead_of(row)}.", changed=True
        )


def why_spent(root: Path, store: Store, decision: Mapping[str, Any]) -> str | None:
    """Why a gate's decision to promote must not be carried out now; `None` if it may be.

    The champion is no dependency of the gate, so after a rollback the decision that it undid still lies there.

    Args:
        root: the project's root; the decision is about its `artifacts/bundle`.
        store: which bundle is in charge, and which were.
        decision: what the stage `gate` wrote.
    """
    bundle = read_manifest(root / BUNDLE)["id"]
    rows = store.deployments()
    history = changes(rows)
    champion = history[-1].bundle if history else None
    if bundle == champion:
        return None
    rival = decision["champion"]["bundle"] if decision["champion"] else None
    if any(row.bundle == bundle for row in history):
        why = f"bundle {bundle} was in charge before and was taken back"
    elif any(row.bundle == bundle and row.action == "end" for row in rows):
        why = f"bundle {bundle} was tried in traffic and was ended"
    elif rival != champion:
        why = f"bundle {champion or 'none'} is in charge, and it was compared with {rival or 'none'}"
    else:
        return None
    return (
        f"The gate has decided nothing new, and its last decision no longer holds: {why}; "
        "to deploy it all the same, run 'recloop promote' or the flow 'deploy'."
    )


def carry_out(root: Path, store: Store, decision: Mapping[str, Any]) -> str:
    """Put the gate's winner in charge, or the packaged model where nothing is in charge yet.

    Args:
        root: the project's root; the decision is about its `artifacts/bundle`.
        store: where the deployment is recorded.
        decision: what the stage `gate` wrote.

    Returns:
        What happened, for a person; a decision that no longer holds is not carried out.

    Raises:
        BundleError: the bundle is missing or damaged; the file is named.
        StoreError: the store cannot be reached.
    """
    champion = store.champion()
    if champion and decision["verdict"] != "promote":
        return f"Bundle {champion.bundle} ({champion.model}) stays in charge."
    spent = why_spent(root, store, decision) if champion else None
    return spent or promote(root, store, reason=decision["reasons"][0]).message


def in_charge(root: Path) -> Path:
    """The folder of the bundle in charge; `artifacts/bundle` where none is."""
    bundle = _pointed(root)
    folder = root / BUNDLES / (bundle or "")
    return folder if bundle and folder.is_dir() else root / BUNDLE


def status(root: Path, store: Store) -> dict[str, Any]:
    """The state of the loop as JSON values; times are ISO 8601.

    Keys: `champion` (the deployment in force, or None), `canary` and `shadow` (see `store.traffic`, or None), `pointer`
    (the pointer's content, or None where there is none to be read), `agree` (whether champion and pointer name the same
    bundle), `history` (all deployments, oldest first), `events` (how many are stored), `decision` (the latest, or
    None), `chain` (where each bundle in traffic comes from, by id: `CHAIN` of its manifest, the drift of the champion
    at the monitor's last look, and the tag of the Bento built of it last; None where not known), `drift_series` (see
    `loop.drift_series`), `review` (the last one of a canary, also of one that has ended; None where none was reviewed),
    `privacy` (see `loop.ledger.spent`, or None), `store` (its URL without the password).

    Raises:
        StoreError: the store cannot be reached.
    """
    rows = store.deployments()
    history, in_force = [_readable(asdict(row)) for row in rows], changes(rows)
    champion = _readable(asdict(in_force[-1])) if in_force else None
    current = plan(rows)
    pointer = _read_pointer(root)
    decisions = [row for row in store.decisions(limit=_RECENT) if row.kind != ledger.KIND]
    looks = store.decisions(limit=1, kind="monitor")
    reviews = store.decisions(limit=1, kind="canary")
    drift = looks[0].record.get("drift") if looks else None
    bentos = {row.record["bundle"]: row.record["tag"] for row in reversed(store.decisions(limit=_BENTOS, kind=BENTO))}
    return {
        "store": store.url,
        "champion": champion,
        "canary": current.canary and asdict(current.canary),
        "shadow": current.shadow and asdict(current.shadow),
        "chain": {
            bundle: _chain(root, bundle) | {"drift": drift, "bento": bentos.get(bundle)}
            for bundle in sorted(current.bundles)
        },
        "drift_series": series(store),
        "privacy": ledger.spent(store),
        "pointer": pointer,
        "agree": (champion and champion["bundle"]) == (pointer and pointer["bundle"]),
        "history": history,
        "events": store.count_events(),
        "decision": _readable(asdict(decisions[0])) if decisions else None,
        "review": _readable(asdict(reviews[0])) if reviews else None,
    }


def note_bento(root: Path, store: Store, tag: str) -> None:
    """Record the tag of a Bento that was built of the packaged bundle."""
    store.decide(BENTO, "built", {"bundle": read_manifest(root / BUNDLE)["id"], "tag": tag})


def _chain(root: Path, bundle: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = read_manifest(root / BUNDLES / bundle)
    except BundleError:
        manifest = {}
    return {name: manifest.get(name) for name in CHAIN}


def keep(source: Path, target: Path) -> None:
    """Copy a verified bundle to the place where bundles stay, unless it is there and whole."""
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover)
    try:
        verify(target)
    except BundleError:
        copy(source, target)


def summary(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the pointer says of a bundle: id, model, and the window it was trained on."""
    try:
        return {
            "bundle": manifest["id"],
            "model": manifest["model"],
            "train_window": manifest["data"]["train_window"],
        }
    except (KeyError, TypeError):
        raise BundleError(
            f"Bundle {folder}: 'manifest.json' does not state its model and training window; package it again."
        ) from None


def _read_pointer(root: Path) -> dict[str, Any] | None:
    try:
        pointer: Any = read_json(root / POINTER)
    except DataError:
        return None
    return pointer if isinstance(pointer, dict) and "bundle" in pointer else None


def _pointed(root: Path) -> str | None:
    """The id of the bundle that the pointer names, if any."""
    pointer = _read_pointer(root)
    return pointer["bundle"] if pointer else None


def _earlier(history: list[Deployment]) -> str:
    pile: list[str] = []
    for row in history:
        if row.action == "promote":
            pile.append(row.bundle)
        elif pile:
            pile.pop()
    if len(pile) < 2:
        raise StoreError("There is no earlier bundle to roll back to; promote another one instead.")
    return pile[-2]


def _change(pointer: dict[str, Any], message: str, *, changed: bool) -> Change:
    return Change(changed=changed, bundle=pointer["bundle"], model=pointer["model"], message=message)


def _instead_of(row: Deployment) -> str:
    return f", instead of {row.previous}" if row.previous else ""


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    moment = datetime.fromtimestamp(row["timestamp"] / 1e6, tz=UTC)
    return row | {"timestamp": moment.isoformat(timespec="seconds")}


@contextmanager
def alone(root: Path) -> Generator[None]:
    """Wait until no other process changes what is in charge."""
    lock = root / "artifacts" / ".deployments.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
