"""What lies in the files: interactions and attributes, read into canonical tables.

Events keep the order of their own file. Between files, validation comes after training unless the two share a column of
order, and the test always comes last.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recloop.columns import ITEM, TIME, USER, VALUE
from recloop.data.tables import (
    TIMESTAMP,
    Attributes,
    canonical_attributes,
    canonical_interactions,
    canonical_knowledge,
    read_parquet,
    require_columns,
)
from recloop.errors import DataError

POSITION = "position"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Canonical interactions; the time of all of `test` lies after the others."""

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame


def read_interactions(train: Path, test: Path, valid: Path | None) -> Data:
    """All interactions; without `valid` that part is empty.

    Raises:
        DataError: a file or column is missing, empty, of the wrong type or cannot be read.
    """
    learnt, held = _plain(train), _plain(test)
    between = learnt.clear() if valid is None else _plain(valid)
    shared = _order(learnt, between)
    learnt = _canonical(learnt, shared or _order(learnt), str(train))
    between = _canonical(between, shared or _order(between), str(valid))
    if shared is None:
        between = following(between, learnt)
    held = following(_canonical(held, None, str(test)), pl.concat([learnt, between]))
    return Data(train=learnt, valid=between, test=held)


def read_attributes(items: Path | None, users: Path | None, knowledge: Path | None) -> Attributes:
    """What is known besides interactions, of the files that are given."""
    return Attributes(
        items=None if items is None else canonical_attributes(read_parquet(items), ITEM, str(items)),
        users=None if users is None else canonical_attributes(read_parquet(users), USER, str(users)),
        knowledge=None if knowledge is None else canonical_knowledge(read_parquet(knowledge), str(knowledge)),
    )


def following(frame: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """The same events in the same order, the first of them a microsecond after the newest of `earlier`."""
    time = pl.col(TIME).cast(pl.Int64)
    newest = int(earlier[TIME].cast(pl.Int64).to_numpy().max())
    return frame.with_columns((time - time.min() + newest + 1).cast(TIMESTAMP).alias(TIME))


def ids(frame: pl.DataFrame, name: str, path: Path) -> pl.Series:
    """A column of ids as text; `path` is where the frame was read, for the sentence of the error."""
    kind = frame.schema[name]
    if not (kind.is_integer() or isinstance(kind, pl.String | pl.Categorical | pl.Enum)):
        raise DataError(f"{path}: '{name}' has type {kind}, but ids must be integers or text; convert them.")
    return frame[name].cast(pl.String)


def _order(*frames: pl.DataFrame) -> str | None:
    """The column by which all `frames` order their events, if any."""
    return next((name for name in (TIME, POSITION) if all(name in frame.columns for frame in frames)), None)


def _plain(path: Path) -> pl.DataFrame:
    """The columns of interactions that a file has, ids as text."""
    frame = read_parquet(path)
    require_columns(frame, (USER, ITEM), str(path))
    if frame.is_empty():
        raise DataError(f"{path} holds no rows; give interactions.")
    columns = [name for name in (USER, ITEM, TIME, POSITION, VALUE) if name in frame.columns]
    for name in columns:
        if empty := frame[name].null_count():
            raise DataError(f"{path}: {empty} cell(s) of '{name}' are empty; fill them or leave the rows out.")
    return frame.select(columns).with_columns(ids(frame, name, path) for name in (USER, ITEM))


def _canonical(frame: pl.DataFrame, order: str | None, origin: str) -> pl.DataFrame:
    """Interactions in canonical form; their time is the column `order`, or 1970 for all where there is none."""
    if order == POSITION and not frame.schema[POSITION].is_integer():
        raise DataError(
            f"{origin}: '{POSITION}' has type {frame.schema[POSITION]}, but must be an integer; convert it."
        )
    if order != TIME:
        when = pl.lit(0, dtype=pl.Int64) if order is None else pl.col(order).cast(pl.Int64)
        frame = frame.with_columns(when.cast(TIMESTAMP).alias(TIME))
    made = canonical_interactions(frame, origin)
    if wrong := made.height - int(made[VALUE].is_finite().sum()):
        raise DataError(
            f"{origin}: {wrong} cell(s) of '{VALUE}' are not finite numbers; correct them or leave the rows out."
        )
    return made
