"""Replacing a folder so that a kill at any moment leaves the old version or the new one, whole.

The scratch folder lies beside the target, on the same file system, and holds

- ``new``: the version that is being written; worth nothing until it is in place;
- ``old``: the version that was in place, between the two renames of `replace`;
- ``trash``: what is being deleted.

Nothing inside the target is ever modified, so files that another tool links to stay as they are.
"""

import os
import shutil
from pathlib import Path


def recover(target: Path, scratch: Path) -> None:
    """Bring back order after a kill: an old version that has no successor in place returns, leftovers go."""
    if (scratch / "old").exists() and not target.exists():
        (scratch / "old").replace(target)
    _discard(scratch, "old")
    _discard(scratch, "new")
    _discard(scratch, "trash")


def stage(scratch: Path) -> Path:
    """An empty folder for the new version."""
    _discard(scratch, "new")
    new = scratch / "new"
    new.mkdir(parents=True)
    return new


def replace(target: Path, scratch: Path) -> None:
    """Put the staged folder in place of `target`, which may be missing."""
    new = scratch / "new"
    _persist(new)
    if target.exists():
        target.replace(scratch / "old")
    new.replace(target)
    _sync(target.parent)
    _discard(scratch, "old")


def adopt(file: Path, target: Path) -> None:
    """Move one finished file into a folder, atomically."""
    _sync(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    file.replace(target)
    _sync(target.parent)


def _discard(scratch: Path, name: str) -> None:
    """Delete a folder; it first gets another name, so that half of it is never taken for the whole."""
    folder, trash = scratch / name, scratch / "trash"
    if not folder.exists():
        return
    if folder != trash:
        if trash.exists():
            shutil.rmtree(trash)
        folder.replace(trash)
    shutil.rmtree(trash)


def _persist(folder: Path) -> None:
    """Ask the disk to keep a folder's content, so that the renames never overtake it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
