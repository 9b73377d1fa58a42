r"""Bundles on disk: what a folder must hold to be served, and how it is checked, named and put in place.

A bundle folder holds `manifest.json` and the files that the manifest lists, each with its size and SHA-256. Its id is
the first 16 hexadecimal digits of the SHA-256 over the sorted lines ``<file name> <sha256 of the file>\n``, without
the manifest: equal content has an equal id, wherever and whenever it was packaged.
"""

import hashlib
import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recloop.data import swap
from recloop.errors import BundleError

FORMAT = 1
MANIFEST = "manifest.json"


def verify(folder: Path | str) -> dict[str, Any]:
    """Check every file of a bundle against its manifest, and return the manifest.

    Files that the manifest does not list are not read by anyone and are ignored.

    Raises:
        BundleError: the folder or the manifest is missing or damaged, the format is newer than `FORMAT`, or a listed
            file is missing, of another size, or of other content; the message names the file.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    files = _listed_files(folder, manifest)
    for name, expected in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"Bundle {folder} lacks its file '{name}'; package or copy the bundle again.")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise BundleError(
                f"Bundle {folder}: '{name}' has {size} bytes where the manifest says {expected['bytes']}; "
                "package or copy the bundle again."
            )
        if _sha256(path) != expected["sha256"]:
            raise BundleError(
                f"Bundle {folder}: the content of '{name}' is not what the manifest's checksum says; "
                "package or copy the bundle again."
            )
    if manifest.get("id") != identify(files):
        raise BundleError(
            f"Bundle {folder}: the id {manifest.get('id')!r} in '{MANIFEST}' is not that of its files; package again."
        )
    return manifest


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a bundle whose format this version can read; the other files are not looked at.

    Raises:
        BundleError: the folder has no readable manifest, or its format is newer than `FORMAT`.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} holds no '{MANIFEST}'; run the package stage or name another bundle.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise BundleError(f"Bundle {folder}: '{MANIFEST}' is not readable JSON; package or copy it again.") from None
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(version, int):
        raise BundleError(f"Bundle {folder}: '{MANIFEST}' states no format; package or copy the bundle again.")
    if version > FORMAT:
        raise BundleError(
            f"Bundle {folder} has format {version}, but this recloop reads formats up to {FORMAT}; "
            f"use recloop {_written_by(manifest)} or newer."
        )
    return manifest


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of `folder` but the manifest: ``{name: {"bytes", "sha256"}}``."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    return {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in paths}


def identify(files: Mapping[str, Mapping[str, Any]]) -> str:
    """The id of a bundle with these files, as `describe` gives them."""
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


@contextmanager
def replacing(folder: Path) -> Generator[Path]:
    """An empty folder to write to, which takes the place of `folder` when the block ends without an error.

    After an error `folder` is what it was before; after a kill it is so once anybody begins to replace it again. One
    process at a time may replace a folder.
    """
    scratch = folder.with_name(f".{folder.name}.swap")
    swap.recover(folder, scratch)
    try:
        yield swap.stage(scratch)
        swap.replace(folder, scratch)
    finally:
        swap.recover(folder, scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def copy(source: Path, target: Path) -> dict[str, Any]:
    """Verify a bundle, copy its files to `target` in one step, and return the manifest.

    Raises:
        BundleError: the source is damaged; `target` is then untouched.
    """
    manifest = verify(source)
    with replacing(target) as scratch:
        for name in (MANIFEST, *manifest["files"]):
            shutil.copyfile(source / name, scratch / name)
    return manifest


def _listed_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    files = manifest.get("files")
    whole = (
        isinstance(files, dict)
        and files
        and all(
            Path(name).name == name and isinstance(entry, dict) and {"sha256", "bytes"} <= entry.keys()
            for name, entry in files.items()
        )
    )
    if not whole:
        raise BundleError(f"Bundle {folder}: '{MANIFEST}' does not list its files properly; package it again.")
    return files  # pyright: ignore[reportReturnType]


def _written_by(manifest: Mapping[str, Any]) -> str:
    libraries = manifest.get("libraries")
    version = libraries.get("recloop") if isinstance(libraries, dict) else None
    return version if isinstance(version, str) else "of a later version"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
