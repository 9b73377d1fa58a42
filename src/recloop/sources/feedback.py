"""What people did with the recommendations: the store's events since the last ingestion, as one more immutable file.

The file is named by the first and the last `seq` that it holds, so the data themselves say how far the store has been
read, and reading again without new events gives nothing. What those people were shown comes with their events: the new
slates of the store become files of impressions, named by the first and last `seq` of their slates. Slates of a shadow
were shown to nobody and stay in the store.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import polars as pl
from pydantic import Field

from recloop.columns import ARM, EVENT, IMPRESSIONS, ITEM, POSITION, REQUEST, TIME, USER, VALUE
from recloop.config import Config as Base
from recloop.data.tables import TIMESTAMP, Tables, canonical_interactions, read_parquet
from recloop.errors import SourceError
from recloop.sources import Batch, SourceContext, appended_name, newest, watermark
from recloop.store import Store

VARIANTS: tuple[str, ...] = ()
_SOURCE = "feedback"
_COMPARED = 100
_PLACES = 1_000_000
"""Impressions in one file, about."""


class Config(Base):
    """Where the store is."""

    url: str | None = Field(
        default=None, description="Database of the store; by default RECLOOP_DATABASE_URL, or else recloop.sqlite here."
    )


def read(config: Config, context: SourceContext) -> Batch | None:
    """The events that the data folder does not hold yet; `None` if there are none.

    An event without a value gets the value 1. Event types are kept as they are. If any event names the request that it
    followed from, the interactions have a column `request_id`.

    Raises:
        StoreError: the store cannot be reached or is damaged.
        SourceError: the store does not hold what was already read from it, so it is another one.
        DataError: the newest file of feedback is damaged.
    """
    known = watermark(context.data, _SOURCE)
    with Store.open(config.url, root=context.root) as store:
        require_origin(store, context.data)
        batches = cast("Iterable[pl.DataFrame]", context.progress(store.events_after(known), _SOURCE))
        parts = [(frame["seq"][0], frame["seq"][-1], _interactions(frame)) for frame in batches]
    if not parts:
        return None
    name = appended_name(_SOURCE, parts[0][0], parts[-1][1])
    events = pl.concat([part for _, _, part in parts]).sort(TIME, USER, ITEM, EVENT, VALUE, REQUEST)
    if events[REQUEST].null_count() == events.height:
        events = events.drop(REQUEST)
    return Batch(
        name=name, tables=Tables(interactions=events), mode="append", impressions=_impressions(config, context)
    )


def require_origin(store: Store, data: Path) -> None:
    """Refuse a store that is not the one that the data came from: its events up to the watermark would be passed over.

    The first events of the newest batch are compared; in any other store they are missing or different ones.

    Raises:
        SourceError: it is another store.
    """
    batch = newest(data, _SOURCE)
    if batch is None:
        return
    path, first, last = batch
    end = store.last_event_seq()
    remedy = f"connect the store that they came from, or remove {data}/interactions/{_SOURCE}-*.parquet"
    if end < last:
        raise SourceError(
            f"The store at {store.url} ends at event {end}, but the data already hold its events up to {last}; "
            f"{remedy}."
        )
    stored = next(store.events_after(first - 1, limit=_COMPARED)).filter(pl.col("seq") <= last)
    events = canonical_interactions(_interactions(stored), _SOURCE)
    kept = canonical_interactions(read_parquet(path), str(path))
    if events.is_empty() or events.join(kept, on=events.columns, how="anti", nulls_equal=True).height:
        raise SourceError(
            f"The store at {store.url} holds other events {first} to {last} than {path.name}, so it is not the one "
            f"that the data came from; {remedy}."
        )


def _interactions(events: pl.DataFrame) -> pl.DataFrame:
    return events.select(
        USER,
        ITEM,
        pl.col(TIME).cast(TIMESTAMP),
        EVENT,
        pl.col(VALUE).fill_null(1.0).cast(pl.Float32),
        REQUEST,
    )


def _impressions(config: Config, context: SourceContext) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name and content of the files of impressions that the data folder does not hold yet; each holds whole slates."""
    known = watermark(context.data, _SOURCE, "impressions")
    with Store.open(config.url, root=context.root) as store:
        waiting: list[pl.DataFrame] = []
        for frame in cast("Iterable[pl.DataFrame]", context.progress(store.impressions_after(known), "impressions")):
            waiting.append(frame)
            if sum(part.height for part in waiting) < _PLACES:
                continue
            rows = pl.concat(waiting)
            whole = rows.filter(pl.col("seq") < rows["seq"][-1])
            waiting = [rows.filter(pl.col("seq") == rows["seq"][-1])]
            if whole.height:
                yield _file(whole)
        if waiting:
            yield _file(pl.concat(waiting))


def _file(rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    shown = rows.filter(pl.col(ARM) != "shadow").with_columns(pl.col(TIME).cast(TIMESTAMP))
    name = appended_name(_SOURCE, rows["seq"][0], rows["seq"][-1])
    return name, shown.select(IMPRESSIONS).sort(TIME, REQUEST, POSITION)
