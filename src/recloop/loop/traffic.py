"""Challengers in traffic: a canary that a share of the users sees, a shadow that scores and is not shown.

As in `loop.deployments`, the folder `artifacts/bundles/<id>` is there before the row that names it, each in one step,
and the same command again does what a kill has left undone. The pointer names the champion only and does not change.
"""

from pathlib import Path

from recloop.data.bundles import read_manifest, verify
from recloop.errors import StoreError
from recloop.loop import ledger
from recloop.loop.deployments import BUNDLE, BUNDLES, Change, alone, keep, summary
from recloop.store import Store
from recloop.store.traffic import TrafficPlan


def begin_canary(
    root: Path,
    store: Store,
    *,
    share: float,
    reason: str,
    bundle_folder: Path | None = None,
    interleave: bool = False,
) -> Change:
    """Serve a share of the users by a challenger, or change the share of the one that does.

    Args:
        root: the project's root.
        store: where it is recorded.
        share: of the users, in (0, 1).
        reason: one sentence, kept with the record.
        bundle_folder: the challenger; by default `artifacts/bundle` of the root.
        interleave: show those users slates that both bundles pick in turns, to see whose picks they act on.

    Raises:
        BundleError: the bundle is missing or damaged; the file is named.
        StoreError: the share is not one, there is no champion, the bundle is the champion, another canary is under way,
            or the store cannot be reached.
    """
    if not 0 < share < 1:
        raise StoreError(f"The share of a canary is {share}, but it must lie between 0 and 1; to have all, promote it.")
    with alone(root):
        bundle, model = _challenger(root, store.traffic(), bundle_folder)
        canary = store.traffic().canary
        if canary and canary.bundle != bundle:
            raise StoreError(
                f"Bundle {canary.bundle} ({canary.model}) is the canary; end it first with 'recloop canary --end'."
            )
        part = "is interleaved with the champion" if interleave else "is the canary"
        message = f"Bundle {bundle} ({model}) {part} now, with {share:.1%} of the users."
        if canary and (canary.share, canary.interleaved) == (share, interleave):
            return Change(changed=False, bundle=bundle, model=model, message=message.replace("now", "already"))
        ledger.note(store, read_manifest(root / BUNDLES / bundle))
        store.deploy("interleave" if interleave else "canary", bundle, model, reason, share=share)
        return Change(changed=True, bundle=bundle, model=model, message=message)


def begin_shadow(root: Path, store: Store, *, reason: str, bundle_folder: Path | None = None) -> Change:
    """Let a challenger score every request without being shown, instead of an earlier one.

    Args:
        root: the project's root.
        store: where it is recorded.
        reason: one sentence, kept with the record.
        bundle_folder: the challenger; by default `artifacts/bundle` of the root.

    Raises:
        BundleError: the bundle is missing or damaged; the file is named.
        StoreError: there is no champion, the bundle is the champion, or the store cannot be reached.
    """
    with alone(root):
        current = store.traffic()
        bundle, model = _challenger(root, current, bundle_folder)
        if current.shadow and current.shadow.bundle == bundle:
            message = f"Bundle {bundle} ({model}) is the shadow already."
            return Change(changed=False, bundle=bundle, model=model, message=message)
        ledger.note(store, read_manifest(root / BUNDLES / bundle))
        store.deploy("shadow", bundle, model, reason)
        return Change(changed=True, bundle=bundle, model=model, message=f"Bundle {bundle} ({model}) is the shadow now.")


def end(root: Path, store: Store, *, bundle: str, reason: str) -> Change:
    """Take a challenger out of the traffic; it may be gone already.

    Raises:
        StoreError: the store cannot be reached.
    """
    with alone(root):
        current = store.traffic()
        for part in (current.canary, current.shadow):
            if part and part.bundle == bundle:
                store.deploy("end", bundle, part.model, reason)
                message = f"Bundle {bundle} ({part.model}) is out of the traffic."
                return Change(changed=True, bundle=bundle, model=part.model, message=message)
        message = f"Bundle {bundle} is neither canary nor shadow."
        return Change(changed=False, bundle=bundle, model="", message=message)


def _challenger(root: Path, current: TrafficPlan, folder: Path | None) -> tuple[str, str]:
    """Id and model of a challenger, kept where bundles stay."""
    source = folder or root / BUNDLE
    named = summary(source, verify(source))
    bundle, model = named["bundle"], named["model"]
    if current.champion is None:
        raise StoreError("There is no champion to try a challenger against; run 'recloop promote' first.")
    if current.champion.bundle == bundle:
        raise StoreError(f"Bundle {bundle} ({model}) is the champion; package another model to try it against.")
    keep(source, root / BUNDLES / bundle)
    return bundle, model
