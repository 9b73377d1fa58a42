"""The log of validated versions of the data: what was in the version before this one."""

import hashlib
from pathlib import Path
from typing import Any

from recloop.data.tables import read_json, write_json
from recloop.errors import DataError


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and bytes of the canonical tables in a data folder."""
    total = hashlib.sha256()
    files = [*(folder / "interactions").glob("*.parquet"), *folder.glob("*.parquet")]
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def previous_rows(path: Path, data: str) -> dict[str, int] | None:
    """Rows by table of the newest logged version that is not `data`; nothing where there is none."""
    others = [entry for entry in _versions(path) if entry["data"] != data]
    return others[-1]["rows"] if others else None


def remember(path: Path, data: str, rows: dict[str, int]) -> None:
    """Add a version to the log, unless it is the newest one there."""
    versions = _versions(path)
    if not versions or versions[-1]["data"] != data:
        write_json({"versions": [*versions, {"data": data, "rows": rows}]}, path)


def _versions(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    versions = read_json(path).get("versions")
    if not isinstance(versions, list) or not all(_is_version(entry) for entry in versions):
        raise DataError(f"{path} is not a log of validated versions; delete it to start a new log.")
    return versions


def _is_version(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("data"), str) and isinstance(entry.get("rows"), dict)
