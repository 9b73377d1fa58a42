"""Taking erased people out of the data folder, and finding the bundles that still hold one.

A row of the data belongs to an erased person if it carries their id and happened until the moment of the erasure
(`store.erasures`). In ``users.parquet``, whose rows have no time, every row of an erased id does: nothing tells whether
it describes somebody new.
"""

from pathlib import Path

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file

from recloop.columns import TIME, USER
from recloop.data import swap
from recloop.data.sequences import Contexts
from recloop.data.tables import read_parquet, require_columns, write_parquet
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import DataError
from recloop.store import Erased
from recloop.store.erasures import digest

BUNDLES = (Path("artifacts/bundle"), Path("artifacts/bundles"))
_FOLDERS = ("interactions", "impressions")


def erase_rows(data: Path, scratch: Path, erased: Erased) -> dict[str, dict[str, int]]:
    """Remove the rows of erased people from the canonical files of a data folder.

    Each file that holds some is replaced in one step, under its own name, so watermarks stay where they are; a file may
    become empty. Files are read one at a time. A kill on the way leaves whole files, and calling again does the rest.

    Args:
        data: the data folder; may be missing.
        scratch: where new files are written, on the same file system; see `data.swap`.
        erased: who.

    Returns:
        digest of a person -> table -> rows removed; only people of whom there were any.

    Raises:
        DataError: a file is damaged or lacks a column.
    """
    counts: dict[str, dict[str, int]] = {}
    if not erased.moments:
        return counts
    for table, path in _files(data):
        frame = read_parquet(path)
        require_columns(frame, (USER,), str(path))
        theirs = _theirs(frame, erased)
        if not theirs.any():
            continue
        new = swap.stage(scratch) / path.name
        write_parquet(frame.filter(~theirs), new)
        swap.adopt(new, path)
        for user, rows in frame.filter(theirs).group_by(USER).len().iter_rows():
            person = counts.setdefault(digest(erased.key, user), {})
            person[table] = person.get(table, 0) + rows
    return counts


def without_erased(frame: pl.DataFrame, erased: Erased) -> pl.DataFrame:
    """A table with a column `user_id`, and perhaps `timestamp`, without the rows of erased people."""
    return frame.filter(~_theirs(frame, erased))


def bundles_with(root: Path, user_id: str, until: int) -> list[Path]:
    """Bundles under ``artifacts/`` that hold an erased person; paths from `root`, sorted.

    A bundle that holds nothing of an id but what happened after the erasure holds somebody new. One that knows the id
    without a history, or that cannot be read, counts as holding the person.

    Args:
        root: the project's root.
        user_id: who.
        until: the moment until which they are erased, microseconds since 1970 UTC.
    """
    folder, kept = (root / place for place in BUNDLES)
    candidates = [folder, *sorted(kept.glob("*"))]
    bundles = [path for path in candidates if (path / "manifest.json").is_file()]
    return [path.relative_to(root) for path in bundles if _holds(path, user_id, until)]


def _holds(bundle: Path, user_id: str, until: int) -> bool:
    try:
        row = Vocabulary(read_parquet(bundle / "users.parquet")[USER]).index(user_id)
        if row == UNKNOWN:
            return False
        times = Contexts.from_arrays(load_file(bundle / "histories.safetensors")).take(np.array([row])).timestamps
    except (DataError, SafetensorError, OSError, KeyError, TypeError):
        return True
    return not len(times) or int(times.min()) <= until


def _files(data: Path) -> list[tuple[str, Path]]:
    files = [(table, path) for table in _FOLDERS for path in sorted((data / table).glob("*.parquet"))]
    users = data / "users.parquet"
    return [*files, *([("users", users)] if users.is_file() else [])]


def _theirs(frame: pl.DataFrame, erased: Erased) -> pl.Series:
    """Which rows belong to erased people; bool, one a row."""
    moments = {user: until for user in frame[USER].drop_nulls().unique() if (until := erased.until(user)) is not None}
    until = pl.col(USER).replace_strict(moments, default=None, return_dtype=pl.Int64)
    past = pl.col(TIME).dt.epoch("us") <= until if TIME in frame.columns else until.is_not_null()
    return frame.select(past.fill_null(value=False).alias("theirs"))["theirs"]
