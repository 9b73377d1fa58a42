"""The canonical tables: what they must look like, and how they are read and written.

| table        | columns                                                              | required |
| ------------ | -------------------------------------------------------------------- | -------- |
| interactions | `user_id` str, `item_id` str, `timestamp` UTC, `event` category, `value` float32 | yes |
| items        | `item_id` str, then any attributes (`title`, `categories` list, ...)  | no       |
| users        | `user_id` str, then any attributes                                    | no       |
| knowledge    | `head` str, `relation` str, `tail` str                                | no       |

Interactions that follow from slates may have a further column, `request_id`. It is not among the canonical ones, and
`read_tables` leaves it out; `read_prompted` says which they are. What was shown lies beside these tables in
`impressions/*.parquet`, columns `columns.IMPRESSIONS`; since that is much, it is read in frames.

Rows are sorted and files are written with fixed settings, so equal content gives equal bytes on any machine that has
the versions of the lock file.
"""

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recloop.columns import (
    EVENT,
    EVENT_KEY,
    HEAD,
    INTERACTIONS,
    ITEM,
    KNOWLEDGE,
    RATING,
    RELATION,
    REQUEST,
    TAIL,
    TIME,
    USER,
    VALUE,
)
from recloop.errors import DataError

TIMESTAMP = pl.Datetime("us", "UTC")

_LAST_SECOND = 253_402_300_799  # of the year 9999
_LOCAL_FORMS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_OFFSET_FORMS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z")


@dataclass(frozen=True, kw_only=True)
class Tables:
    """One version of the data; every frame is canonical (see the module's docstring)."""

    interactions: pl.DataFrame
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    knowledge: pl.DataFrame | None = None

    def present(self) -> dict[str, pl.DataFrame]:
        """The tables that exist, by name."""
        frames = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: frame for name, frame in frames.items() if frame is not None}


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """The optional canonical tables: what is known besides interactions."""

    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    knowledge: pl.DataFrame | None = None


def canonical_interactions(frame: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Bring interactions to their canonical types and order.

    `timestamp` may be a datetime (naive means UTC), a date, a number of seconds since 1970, or ISO 8601 text. A missing
    `event` becomes ``rating`` where `value` is given, ``view`` otherwise; a missing `value` column, and an empty
    cell of an event that is not a rating, becomes 1.

    Args:
        frame: at least `user_id`, `item_id` and `timestamp`; further columns are dropped.
        origin: what to call the data in an error.

    Raises:
        DataError: a column is missing, or a cell cannot be read as its type; named with an example.
    """
    require_columns(frame, (USER, ITEM, TIME), origin)
    if EVENT not in frame.columns:
        frame = frame.with_columns(pl.lit(RATING if VALUE in frame.columns else "view").alias(EVENT))
    if VALUE not in frame.columns:
        frame = frame.with_columns(pl.lit(1.0).alias(VALUE))
    typed = frame.select(
        _text(frame, USER, origin),
        _text(frame, ITEM, origin),
        _timestamps(frame, origin),
        _text(frame, EVENT, origin),
        _numbers(frame, VALUE, origin),
    )
    weight = pl.when(pl.col(EVENT) == RATING).then(pl.col(VALUE)).otherwise(pl.col(VALUE).fill_null(1.0))
    return typed.with_columns(weight.alias(VALUE)).sort(TIME, USER, ITEM, EVENT, VALUE)


def canonical_attributes(frame: pl.DataFrame, key: str, origin: str) -> pl.DataFrame:
    """Bring an items or users table to canonical form: `key` as text, first column, rows sorted by it."""
    require_columns(frame, (key,), origin)
    return frame.select(_text(frame, key, origin), pl.all().exclude(key)).sort(key, maintain_order=True)


def canonical_knowledge(frame: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Bring knowledge triples to canonical form: three text columns, sorted."""
    require_columns(frame, KNOWLEDGE, origin)
    return frame.select(_text(frame, column, origin) for column in KNOWLEDGE).sort(HEAD, RELATION, TAIL)


def require_columns(frame: pl.DataFrame, required: Sequence[str], origin: str) -> None:
    """Raise `DataError` naming the first of `required` that `frame` lacks, and the columns that it has."""
    for column in required:
        if column not in frame.columns:
            found = ", ".join(frame.columns) or "none"
            raise DataError(f"{origin} has no column '{column}'; it has: {found}; map or rename one to '{column}'.")


def read_parquet(path: Path, origin: str | None = None) -> pl.DataFrame:
    """Read one Parquet file.

    Raises:
        DataError: the file does not exist, or is truncated or otherwise not Parquet.
    """
    origin = origin or str(path)
    if not path.is_file():
        raise DataError(f"{origin} does not exist; run the step that writes it, or correct the path.")
    try:
        return pl.from_arrow(pq.read_table(path))  # pyright: ignore[reportReturnType]
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{origin} is not a readable Parquet file ({reason}); fetch or write it again.") from None


def read_attributes(folder: Path) -> Attributes:
    """The optional tables of a folder of canonical tables."""
    paths = {field.name: folder / f"{field.name}.parquet" for field in fields(Attributes)}
    return Attributes(**{name: read_parquet(path) for name, path in paths.items() if path.is_file()})


@contextmanager
def replacing_file(path: Path) -> Generator[Path]:
    """Where to write a file that takes the place of `path` when the block ends without an error.

    After an error `path` is what it was before, and a kill leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write one Parquet file with fixed settings, atomically: a kill leaves the old file or the new one."""
    with replacing_file(path) as scratch:
        pq.write_table(
            frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).replace_schema_metadata(None),
            scratch,
            compression="zstd",
            row_group_size=1 << 20,
            store_schema=False,
        )


def read_tables(folder: Path) -> Tables:
    """Read the canonical tables of a data folder; `interactions/` may hold any number of immutable files.

    Raises:
        DataError: there are no interactions, or a file is damaged or lacks a column.
    """
    parts = sorted((folder / "interactions").glob("*.parquet"))
    if not parts:
        raise DataError(f"{folder}/interactions holds no Parquet file; run 'recloop ingest' first.")
    frames: list[pl.DataFrame] = []
    for part in parts:
        frame = read_parquet(part)
        require_columns(frame, INTERACTIONS, str(part))
        frames.append(canonical_interactions(frame, str(part)))
    optional = {name: folder / f"{name}.parquet" for name in ("items", "users", "knowledge")}
    return Tables(
        interactions=pl.concat(frames).sort(TIME, USER, ITEM, EVENT, VALUE),
        **{name: read_parquet(path) for name, path in optional.items() if path.is_file()},
    )


def read_prompted(folder: Path) -> pl.DataFrame:
    """The interactions of a data folder that followed from a slate, by `columns.EVENT_KEY`, sorted and each once.

    Raises:
        DataError: a file is damaged or lacks a column.
    """
    found = [pl.DataFrame(schema={USER: pl.String, ITEM: pl.String, TIME: TIMESTAMP, EVENT: pl.String})]
    for part in sorted((folder / "interactions").glob("*.parquet")):
        if REQUEST in pq.read_schema(part).names:
            frame = read_parquet(part).filter(pl.col(REQUEST).is_not_null())
            found.append(canonical_interactions(frame, str(part)).select(EVENT_KEY))
    return pl.concat(found).unique().sort(EVENT_KEY)


def _timestamps(frame: pl.DataFrame, origin: str) -> pl.Expr:
    kind = frame.schema[TIME]
    column = pl.col(TIME)
    if kind.is_numeric():
        wide = column.cast(pl.Int64 if kind.is_integer() else pl.Float64, strict=False)
        seconds = pl.when(wide.abs() <= _LAST_SECOND).then(wide)
        rule, remedy = "seconds since 1970", "divide milliseconds by 1000, and correct or leave out the rest"
        _refuse_unparsable(frame, TIME, seconds, origin=origin, rule=rule, remedy=remedy)
        return (seconds * 1_000_000).round().cast(pl.Int64).cast(TIMESTAMP).alias(TIME)
    if isinstance(kind, pl.Datetime):
        utc = column.dt.convert_time_zone("UTC") if kind.time_zone else column.dt.replace_time_zone("UTC")
        return utc.cast(TIMESTAMP)
    if kind == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if kind != pl.String:
        raise DataError(f"{origin}: '{TIME}' has type {kind}; give seconds since 1970 or ISO 8601 text.")
    local = pl.coalesce(column.str.to_datetime(form, time_unit="us", strict=False) for form in _LOCAL_FORMS)
    offset = pl.coalesce(column.str.to_datetime(form, time_unit="us", strict=False) for form in _OFFSET_FORMS)
    parsed = pl.coalesce(offset, local.dt.replace_time_zone("UTC"))
    rule, remedy = "a date and time", "write ISO 8601, for example 2026-01-31T12:00:00Z"
    _refuse_unparsable(frame, TIME, parsed, origin=origin, rule=rule, remedy=remedy)
    return parsed.alias(TIME)


def _text(frame: pl.DataFrame, name: str, origin: str) -> pl.Expr:
    kind = frame.schema[name]
    if kind.is_nested() or isinstance(kind, pl.Binary | pl.Object):
        raise DataError(f"{origin}: '{name}' has type {kind}, but must be text or numbers; convert it.")
    return pl.col(name).cast(pl.String)


def _numbers(frame: pl.DataFrame, name: str, origin: str) -> pl.Expr:
    kind = frame.schema[name]
    if not (kind.is_numeric() or isinstance(kind, pl.String | pl.Boolean | pl.Null)):
        raise DataError(f"{origin}: '{name}' has type {kind}, but must be a number; convert it.")
    parsed = pl.col(name).cast(pl.Float32, strict=False)
    _refuse_unparsable(frame, name, parsed, origin=origin, rule="a number", remedy="correct it or leave the cell empty")
    return parsed


def _refuse_unparsable(frame: pl.DataFrame, name: str, parsed: pl.Expr, *, origin: str, rule: str, remedy: str) -> None:
    bad = frame.with_row_index("row").filter(pl.col(name).is_not_null() & parsed.is_null())
    if bad.height:
        row, cell = bad["row"][0], bad[name][0]
        raise DataError(
            f"{origin}: {bad.height} cell(s) of '{name}' are not {rule}, the first is {cell!r} in row {row}; {remedy}."
        )


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Write JSON with sorted keys, atomically; NaN and infinity are refused, as no reader of JSON must know them."""
    with replacing_file(path) as scratch:
        scratch.write_text(json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        DataError: the file does not exist or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run the stage that writes it.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise DataError(f"{path} is not valid JSON; run the stage that writes it again.") from None
