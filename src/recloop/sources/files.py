"""Tables from files of one's own: CSV or Parquet, one or many, with a mapping of the column names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import polars as pl
from polars.exceptions import ComputeError, NoDataError, SchemaError
from pydantic import Field, field_validator

from recloop import config
from recloop.columns import CATEGORIES, EVENT, HEAD, ITEM, RELATION, TAIL, TIME, TITLE, USER, VALUE
from recloop.data.tables import (
    Tables,
    canonical_attributes,
    canonical_interactions,
    canonical_knowledge,
    read_parquet,
)
from recloop.errors import DataError, SourceError
from recloop.sources import Batch, SourceContext

VARIANTS: tuple[str, ...] = ()

InteractionColumn = Literal["user_id", "item_id", "timestamp", "event", "value"]
KnowledgeColumn = Literal["head", "relation", "tail"]
Unit = Literal["seconds", "milliseconds", "microseconds"]

_PER_SECOND: Mapping[Unit, int] = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}
_MAPPINGS = {
    "interactions": "columns",
    "items": "item_columns",
    "users": "user_columns",
    "knowledge": "knowledge_columns",
}
_TEXT = (USER, ITEM, TITLE, CATEGORIES, EVENT, HEAD, RELATION, TAIL)


class Config(config.Config):
    """Which files, and how to read them. Paths start at the project's root and may contain ``*`` and ``**``.

    Attributes:
        interactions: one path or several; all files that match are read as one table.
        items, users, knowledge: likewise, optional.
        columns: canonical name -> name in the interactions files, for those that differ.
        item_columns, user_columns, knowledge_columns: likewise.
        separator: between the cells of a CSV file; a ``.tsv`` file always has tabs.
        list_separator: between the entries of a `categories` cell.
        event: the kind of event, where the files do not say.
        timestamp_unit: of timestamps that are numbers, counted from 1970.
    """

    interactions: tuple[str, ...] = Field(min_length=1)
    items: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    knowledge: tuple[str, ...] = ()
    columns: dict[InteractionColumn, str] = Field(default={})
    item_columns: dict[str, str] = Field(default={})
    user_columns: dict[str, str] = Field(default={})
    knowledge_columns: dict[KnowledgeColumn, str] = Field(default={})
    separator: str = ","
    list_separator: str = "|"
    event: str | None = None
    timestamp_unit: Unit = "seconds"

    @field_validator("interactions", "items", "users", "knowledge", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("separator")
    @classmethod
    def _one_byte(cls, value: str) -> str:
        if len(value) != 1 or not value.isascii() or value in '"\r\n':
            raise ValueError("it must be one ASCII character that is neither a quote nor the end of a line")
        return value


def read(config: Config, context: SourceContext) -> Batch:
    """Read the files.

    Raises:
        SourceError: no file matches a path, or a path is none.
        DataError: a file is empty, damaged, lacks a column, has a cell that cannot be read as its type, or has an
            attribute of a type that does not go with that in another file.
    """
    interactions = [
        canonical_interactions(_times(_event(frame, config), config, origin), origin)
        for origin, frame in _read_all(config, context, "interactions")
    ]
    knowledge = [canonical_knowledge(frame, origin) for origin, frame in _read_all(config, context, "knowledge")]
    tables = Tables(
        interactions=pl.concat(interactions).sort(TIME, USER, ITEM, EVENT, VALUE),
        items=_attributes(config, context, "items", ITEM),
        users=_attributes(config, context, "users", USER),
        knowledge=pl.concat(knowledge).sort(HEAD, RELATION, TAIL) if knowledge else None,
    )
    return Batch(name="files", tables=tables)


def _attributes(config: Config, context: SourceContext, table: str, key: str) -> pl.DataFrame | None:
    frames = [
        canonical_attributes(_lists(frame, config.list_separator), key, origin)
        for origin, frame in _read_all(config, context, table)
    ]
    if not frames:
        return None
    try:
        return pl.concat(frames, how="diagonal_relaxed").sort(key, maintain_order=True)
    except SchemaError as error:
        raise DataError(
            f"The files of ingest.files.{table} give a column types that do not go together ({error}); write it in one "
            f"type everywhere."
        ) from None


def _read_all(config: Config, context: SourceContext, table: str) -> list[tuple[str, pl.DataFrame]]:
    """All files of a table with canonical column names, each with its path for errors."""
    option = _MAPPINGS[table]
    mapping: Mapping[str, str] = getattr(config, option)
    paths = [path for pattern in getattr(config, table) for path in _matches(context.root, pattern, table)]
    return [
        (str(path), _renamed(_read(path, config, mapping), mapping, str(path), option))
        for path in context.progress(dict.fromkeys(paths), f"reading {table}")
    ]


def _matches(root: Path, pattern: str, table: str) -> list[Path]:
    path = Path(pattern)
    base, relative = (Path(path.anchor), str(path.relative_to(path.anchor))) if path.is_absolute() else (root, pattern)
    try:
        found = sorted(match for match in base.glob(relative) if match.is_file())
    except (ValueError, IndexError) as error:
        raise SourceError(
            f"ingest.files.{table}: '{pattern}' is not the path of a file ({error}); correct the path."
        ) from None
    if not found:
        raise SourceError(f"No file matches {base / relative}, named by ingest.files.{table}; correct the path.")
    return found


def _read(path: Path, config: Config, mapping: Mapping[str, str]) -> pl.DataFrame:
    parquet = path.suffix.lower() in {".parquet", ".pq"}
    frame = read_parquet(path) if parquet else _read_csv(path, config, mapping)
    if frame.is_empty():
        raise DataError(f"{path} is empty, but a table needs at least one row; fill it or leave it out.")
    return frame


def _read_csv(path: Path, config: Config, mapping: Mapping[str, str]) -> pl.DataFrame:
    """Read a CSV file; ids, names and times stay text, all else is a number if every cell is one."""
    separator = "\t" if path.suffix.lower() == ".tsv" else config.separator
    text = [mapping.get(name, name) for name in (*_TEXT, TIME)]
    try:
        columns = pl.read_csv(path, separator=separator, n_rows=0).columns
        overrides = {name: pl.String for name in text if name in columns}
        return pl.read_csv(path, separator=separator, infer_schema_length=None, schema_overrides=overrides)
    except NoDataError:
        raise DataError(f"{path} is empty, but a CSV file needs a header line; fill it or leave it out.") from None
    except ComputeError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a readable CSV file in UTF-8 ({reason}); correct it.") from None


def _renamed(frame: pl.DataFrame, mapping: Mapping[str, str], origin: str, option: str) -> pl.DataFrame:
    for name, theirs in mapping.items():
        if theirs not in frame.columns:
            found = ", ".join(frame.columns)
            raise DataError(
                f"{origin} has no column '{theirs}', which ingest.files.{option} maps to '{name}'; it has: {found}; "
                f"correct the mapping."
            )
    taken = set(mapping.values()) | set(mapping)
    kept = [pl.col(name) for name in frame.columns if name not in taken]
    return frame.select(*(pl.col(theirs).alias(name) for name, theirs in mapping.items()), *kept)


def _event(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    if EVENT in frame.columns or config.event is None:
        return frame
    return frame.with_columns(pl.lit(config.event).alias(EVENT))


def _times(frame: pl.DataFrame, config: Config, origin: str) -> pl.DataFrame:
    """Bring times that are numbers to seconds; a CSV column whose first cell is a number must hold numbers only."""
    if TIME not in frame.columns:
        return frame
    times = frame[TIME]
    if times.dtype == pl.String:
        first = times.drop_nulls().head(1)
        if first.is_empty() or first.cast(pl.Float64, strict=False).null_count():
            return frame
        times = times.cast(pl.Float64, strict=False)
        bad = (times.is_null() & frame[TIME].is_not_null()).arg_true()
        if len(bad):
            row = int(bad[0])
            raise DataError(
                f"{origin}: {len(bad)} cell(s) of '{TIME}' are not numbers like the first, the first of them is "
                f"{frame[TIME][row]!r} in row {row}; write all times in one form."
            )
    if not times.dtype.is_numeric():
        return frame
    per_second = _PER_SECOND[config.timestamp_unit]
    return frame.with_columns((times if per_second == 1 else times / per_second).alias(TIME))


def _lists(frame: pl.DataFrame, separator: str) -> pl.DataFrame:
    if frame.schema.get(CATEGORIES) != pl.String:
        return frame
    return frame.with_columns(pl.col(CATEGORIES).str.split(separator))
