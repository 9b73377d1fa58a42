"""Taking a person out of everything that is kept here, and old events out of the store."""

import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from recloop import versions
from recloop.config import parse, section
from recloop.data import pseudonyms, swap
from recloop.data.pseudonyms import Pseudonyms
from recloop.errors import ConfigError, DataError
from recloop.loop.forget import bundles_with, erase_rows
from recloop.progress import track
from recloop.sources import feedback, watermark
from recloop.store import DEFAULT_FILE, URL_VARIABLE, Erasure, Store
from recloop.versions import DATA, POINTER, SCRATCH, Progress


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What is gone of a person, and what is not.

    Attributes:
        erasure: the record of what left the store.
        rows: table -> rows that left the data.
        version: MD5 of the data folder, as in `data.dvc`; empty if there are no data here. Versions before it may hold
            the person.
        pushed: whether the version was sent to DVC's default remote.
        bundles: those that hold the person, paths from the project's root; the service answers them as unknown.
        purge: the command that removes what older versions hold.
    """

    erasure: Erasure
    rows: dict[str, int]
    version: str
    pushed: bool
    bundles: list[Path]
    purge: str

    def sentences(self) -> list[str]:
        """The report for a person, one line a fact."""
        lines = [_gone("store", self.erasure.counts), _gone("data", self.rows)]
        if not self.version:
            return [*lines, "no data here: only the store was searched"]
        old = "older versions in DVC's cache and remote" if "--cloud" in self.purge else "older versions in DVC's cache"
        return [
            *lines,
            f"data version without the person: {self.version}",
            *(f"{path} still holds the person; the service answers them as unknown" for path in self.bundles),
            "artifacts/ made of older data still hold the person until 'recloop run' has made them anew",
            f"{old} still hold the person; when data.dvc and dvc.lock are committed, '{self.purge}' removes them",
        ]


def forget(params: Mapping[str, Any], root: Path, user_id: str, asked_by: str, progress: Progress = track) -> Forgotten:
    """Take a person out of the store and of the data, and version what is left.

    The store comes first, in one transaction; then each file of the data that holds the person is replaced in one step.
    After a kill the same command again does the rest, and so does the next ingestion.

    Args:
        params: the parsed `params.yaml`; `ingest.feedback.url` may name the store.
        root: the project's root.
        user_id: who; the id itself, also where the data hold pseudonyms.
        asked_by: who asked for it, kept with the record of the erasure.
        progress: shows how far long steps are.

    Raises:
        ConfigError: there are data, but `root` is not set up for DVC, or the key of their pseudonyms is not at hand.
        StoreError: the store cannot be reached.
        DataError: the version of the data is not here, a file is damaged, an ingestion is running, or DVC fails.
    """
    root = root.absolute()
    with versions.alone(root) as lock, Store.open(store_url(params), root=root) as store:
        swap.recover(root / DATA, root / SCRATCH)
        present = (root / DATA).exists()
        if present:
            versions.require_project(root)
        elif (root / POINTER).exists():
            raise DataError(f"{root / DATA} is missing, so nobody can be taken out of it; run 'dvc pull' first.")
        names = _pseudonyms(params, root / DATA)
        stored_id = user_id if names is None else names.of(user_id)
        erasure = store.erase(stored_id, asked_by)
        assert erasure.digest is not None
        rows = erase_from_data(root, store, asked_by=asked_by).get(erasure.digest, {})
        if present and not versions.is_versioned(root, lock):
            versions.dvc(root, lock, "add", DATA)
        pushed = present and versions.push(root, lock, progress)
    return Forgotten(
        erasure=erasure,
        rows=rows,
        version=versions.version(root) if present else "",
        pushed=pushed,
        bundles=bundles_with(root, stored_id, erasure.until),
        purge="dvc gc --workspace --force" + (" --cloud" if pushed else ""),
    )


def expire(params: Mapping[str, Any], root: Path, older_than: timedelta, asked_by: str, now: int) -> Erasure:
    """Delete raw events from the store that are old and that the data hold already; the data keep them.

    Args:
        params: the parsed `params.yaml`; `ingest.feedback.url` may name the store.
        root: the project's root.
        older_than: how long before `now` an event must have happened.
        asked_by: who asked for it, kept with the record of it.
        now: microseconds since 1970 UTC.

    Raises:
        StoreError: the store cannot be reached.
        SourceError: the data come from another store, so they do not say what of this one they hold.
        DataError: an ingestion is running, or a file of the data is damaged.
    """
    root = root.absolute()
    with versions.alone(root), Store.open(store_url(params), root=root) as store:
        swap.recover(root / DATA, root / SCRATCH)
        feedback.require_origin(store, root / DATA)
        held = watermark(root / DATA, "feedback")
        return store.expire(before=now - older_than // timedelta(microseconds=1), held=held, asked_by=asked_by)


def age(text: str) -> timedelta:
    """An age such as ``365d``, in days.

    Raises:
        ConfigError: it is not one.
    """
    days = re.fullmatch(r"([1-9][0-9]{0,4})d", text)
    if days is None:
        raise ConfigError(f"'{text}' is not an age; write a number of days from 1 to 99999, such as 365d.")
    return timedelta(days=int(days[1]))


@contextmanager
def known_store(params: Mapping[str, Any], root: Path) -> Generator[Store | None]:
    """The store, which knows who was erased; none if there has never been one."""
    url = store_url(params)
    if not url and not os.environ.get(URL_VARIABLE) and not (root / DEFAULT_FILE).exists():
        yield None
        return
    with Store.open(url, root=root) as store:
        yield store


def erase_from_data(root: Path, store: Store | None, *, asked_by: str) -> dict[str, dict[str, int]]:
    """Take everybody whom the store has erased out of ``data/``: digest -> table -> rows removed."""
    if store is None:
        return {}
    erased = store.erased()
    counts = erase_rows(root / DATA, root / SCRATCH, erased)
    for digest, rows in counts.items():
        store.note_erased_data(digest=digest, until=erased.moments[digest], asked_by=asked_by, counts=rows)
    return counts


def store_url(params: Mapping[str, Any]) -> str | None:
    """Where the store is, if `ingest.feedback.url` says so."""
    values = section(params, "ingest").get("feedback")
    return parse(feedback.Config, values, "params.yaml: ingest.feedback").url


def _pseudonyms(params: Mapping[str, Any], data: Path) -> Pseudonyms | None:
    """What stands for user ids in data and store: what the data say, or the parameters where there are no data."""
    if (record := pseudonyms.recorded(data)) is not None:
        return pseudonyms.from_record(record)
    variable = section(params, "ingest").get("pseudonyms")
    return None if variable is None else Pseudonyms.from_environment(str(variable))


def _gone(place: str, counts: Mapping[str, int]) -> str:
    rows = ", ".join(f"{count:,} {table}" for table, count in counts.items() if count)
    return f"gone from the {place}: {rows or 'nothing was there'}"
