"""Origins of interaction data, one file each; the module's name is the source's name.

A new source is a new file in this folder; nothing else has to be edited. The module holds

- `Config`: a subclass of `recloop.config.Config`, the options under ``ingest.<module>`` in `params.yaml`;
- `VARIANTS`: the names behind a dash, as in ``movielens-100k``; an empty tuple if the source has no variants;
- `read(config, context) -> Batch | Appended | None`: reads everything, writes nothing below `context.data`; `None` says
  that there is nothing new.

What was read either replaces the data or is appended to them:

- `Batch`: its tables are the whole data from now on; interactions go to ``data/interactions/<name>.parquet``, all other
  tables to ``data/<table>.parquet``. Files that were appended earlier stay.
- `Appended`: interactions become further immutable files, named by `appended_name(source, first, last)`, where `first`
  and `last` number the events of the source; the largest `last` is the source's watermark (`watermark`), so what was
  ingested is known from the data alone. Impressions become files of ``data/impressions/`` that are named alike, by
  numbers of their own.
"""

import importlib
import os
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import polars as pl

from recloop.config import Config
from recloop.data.tables import Tables
from recloop.errors import SourceError
from recloop.progress import track

_APPENDED = re.compile(r"^(?P<source>[a-z_]+)-(?P<first>\d+)-(?P<last>\d+)$")
_HELPERS = frozenset({"download"})


def cache_folder() -> Path:
    """Where downloads are kept: `RECLOOP_CACHE`, else ``recloop`` in `XDG_CACHE_HOME`, else in ``~/.cache``."""
    if chosen := os.environ.get("RECLOOP_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recloop"


@dataclass(frozen=True, kw_only=True)
class SourceContext:
    """What a source may know besides its options.

    Attributes:
        root: the project's root; relative paths in options start here.
        data: the present data folder, which may be missing; to be read only.
        cache: where downloads are kept between runs.
        variant: the part of the source's name after the dash, if the source has variants.
        progress: wraps an iterable of steps and shows it under a description.
    """

    root: Path
    data: Path
    cache: Path
    variant: str = ""
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = track


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a source read that is the whole data.

    Attributes:
        name: stem of the interactions file.
        tables: canonical tables.
    """

    name: str
    tables: Tables


@dataclass(frozen=True, kw_only=True)
class Appended:
    """What a source read that comes to the data: name and content of each file, made as they are asked for.

    Attributes:
        interactions: at least one file, in the order of the source's numbers.
        impressions: any number of files, likewise; they are asked for first.
    """

    interactions: Iterable[tuple[str, pl.DataFrame]]
    impressions: Iterable[tuple[str, pl.DataFrame]] = ()


class Source(Protocol):
    """The contract of a module in this folder."""

    Config: type[Config]
    VARIANTS: tuple[str, ...]

    def read(self, config: Any, context: SourceContext) -> Batch | Appended | None:
        """Read the source.

        Raises:
            SourceError: it cannot be reached, is damaged, or has a wrong checksum.
            DataError: its tables break a rule.
        """
        ...


@dataclass(frozen=True)
class Found:
    """A source looked up by its full name."""

    source: Source
    key: str
    variant: str


def names() -> tuple[str, ...]:
    """The full names of all sources, sorted."""
    return tuple(sorted(name for key in modules() for name in _full_names(key)))


@cache
def modules() -> tuple[str, ...]:
    """The names of the source modules, which are also the keys of their options; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _HELPERS))


def find(name: str) -> Found:
    """The source called `name`, for example ``files`` or ``movielens-100k``.

    Raises:
        SourceError: there is no such source; the message lists the valid names.
    """
    key, _, variant = name.partition("-")
    if key in modules() and name in _full_names(key):
        return Found(_load(key), key, variant)
    raise SourceError(f"There is no source '{name}'; choose from: {', '.join(names())}.")


def appended_name(source: str, first: int, last: int) -> str:
    """The stem of the file of an appended batch that holds the events `first` to `last` of `source`."""
    assert first <= last, "a batch is not empty"
    return f"{source}-{first}-{last}"


def is_appended(path: Path) -> bool:
    """Whether an interactions file was appended, so that a replacement of the data keeps it."""
    return _APPENDED.match(path.stem) is not None


def watermark(data: Path, source: str, table: str = "interactions") -> int:
    """The largest `last` of the batches of `source` in a table of a data folder; 0 if there are none."""
    return max((last for _, _, last in batches(data, source, table)), default=0)


def batches(data: Path, source: str, table: str = "interactions") -> list[tuple[Path, int, int]]:
    """The batches of `source` in a data folder, newest first: of each its file, `first` and `last`."""
    files = (data / table).glob(f"{source}-*.parquet")
    matches = ((path, _APPENDED.match(path.stem)) for path in files)
    found = [
        (path, int(match["first"]), int(match["last"]))
        for path, match in matches
        if match and match["source"] == source
    ]
    return sorted(found, key=lambda batch: batch[2], reverse=True)


def _load(key: str) -> Source:
    return cast("Source", importlib.import_module(f"{__name__}.{key}"))


def _full_names(key: str) -> tuple[str, ...]:
    variants = _load(key).VARIANTS
    return tuple(f"{key}-{variant}" for variant in variants) or (key,)
