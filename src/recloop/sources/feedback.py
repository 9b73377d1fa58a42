"""What people did with the recommendations: the store's events since the last ingestion, as further immutable files.

A file is named by the first and the last `seq` that it holds, so the data themselves say how far the store has been
read, and reading again without new events gives nothing. Memory holds one file at a time. What those people were shown
comes with their events: the new slates of the store become files of impressions, named by the first and last `seq` of
their slates. Slates of a shadow were shown to nobody and stay in the store.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import cast

import polars as pl
from pydantic import Field

from recloop.columns import ARM, EVENT, IMPRESSIONS, ITEM, POSITION, REQUEST, TIME, USER, VALUE
from recloop.config import Config as Base
from recloop.data.tables import TIMESTAMP, canonical_interactions, read_parquet
from recloop.errors import SourceError
from recloop.sources import Appended, SourceContext, appended_name, batches, watermark
from recloop.store import Store
from recloop.store.events import SCHEMA

VARIANTS: tuple[str, ...] = ()
_SOURCE = "feedback"
_COMPARED = 100
_EVENTS = 1_000_000
"""Events in one file, about."""
_PLACES = 1_000_000
"""Impressions in one file, about."""


class Config(Base):
    """Where the store is."""

    url: str | None = Field(
        default=None, description="Database of the store; by default RECLOOP_DATABASE_URL, or else recloop.sqlite here."
    )


def read(config: Config, context: SourceContext) -> Appended | None:
    """The events that the data folder does not hold yet; `None` if there are none.

    An event without a value gets the value 1. Event types are kept as they are. If any event of a file names the
    request that it followed from, the file has a column `request_id`.

    Raises:
        StoreError: the store cannot be reached or is damaged.
        SourceError: the store does not hold what was already read from it, so it is another one.
        DataError: the newest file of feedback is damaged.
    """
    known = watermark(context.data, _SOURCE)
    with Store.open(config.url, root=context.root) as store:
        require_origin(store, context.data)
        if not store.count_events(after=known):
            return None
    return Appended(interactions=_events(config, context, known), impressions=_impressions(config, context))


def require_origin(store: Store, data: Path) -> None:
    """Refuse a store that is not the one that the data came from: its events up to the watermark would be passed over.

    The first events of the newest batch are compared; in any other store they are missing or different ones. Events
    that were erased cannot be compared: if none of a batch is left in the store, the batch before it counts, and a
    store that has erased all that the data hold is believed by its record of erasures.

    Raises:
        SourceError: it is another store.
    """
    kept = batches(data, _SOURCE)
    if not kept:
        return
    last = kept[0][2]
    end = store.last_event_seq()
    remedy = f"connect the store that they came from, or remove {data}/interactions/{_SOURCE}-*.parquet"
    if end < last:
        raise SourceError(
            f"The store at {store.url} ends at event {end}, but the data already hold its events up to {last}; "
            f"{remedy}."
        )
    erased = max((erasure.last_event for erasure in store.erasures()), default=0)
    for path, first, last in kept:
        stored = pl.concat([pl.DataFrame(schema=SCHEMA), *islice(store.events_after(first - 1, limit=_COMPARED), 1)])
        events = stored.filter(pl.col("seq") <= last)
        if events.is_empty() and last <= erased:
            continue
        if events.is_empty() or not _holds(path, events):
            raise SourceError(
                f"The store at {store.url} holds other events {first} to {last} than {path.name}, so it is not the one "
                f"that the data came from; {remedy}."
            )
        return


def _holds(path: Path, events: pl.DataFrame) -> bool:
    """Whether a file holds all of these events of the store."""
    wanted = canonical_interactions(_interactions(events), _SOURCE)
    held = canonical_interactions(read_parquet(path), str(path))
    return wanted.join(held, on=wanted.columns, how="anti", nulls_equal=True).is_empty()


def _interactions(events: pl.DataFrame) -> pl.DataFrame:
    return events.select(
        USER,
        ITEM,
        pl.col(TIME).cast(TIMESTAMP),
        EVENT,
        pl.col(VALUE).fill_null(1.0).cast(pl.Float32),
        REQUEST,
    )


def _events(config: Config, context: SourceContext, known: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name and content of the files of events after `known`."""
    with Store.open(config.url, root=context.root) as store:
        waiting: list[pl.DataFrame] = []
        for frame in cast("Iterable[pl.DataFrame]", context.progress(store.events_after(known), _SOURCE)):
            waiting.append(frame)
            if sum(part.height for part in waiting) >= _EVENTS:
                yield _file_of_events(pl.concat(waiting))
                waiting = []
        if waiting:
            yield _file_of_events(pl.concat(waiting))


def _file_of_events(rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    events = _interactions(rows).sort(TIME, USER, ITEM, EVENT, VALUE, REQUEST)
    if events[REQUEST].null_count() == events.height:
        events = events.drop(REQUEST)
    return appended_name(_SOURCE, rows["seq"][0], rows["seq"][-1]), events


def _impressions(config: Config, context: SourceContext) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name and content of the files of impressions that the data folder does not hold yet; each holds whole slates."""
    known = watermark(context.data, _SOURCE, "impressions")
    with Store.open(config.url, root=context.root) as store:
        waiting: list[pl.DataFrame] = []
        for frame in cast("Iterable[pl.DataFrame]", context.progress(store.impressions_after(known), "impressions")):
            waiting.append(frame)
            if sum(part.height for part in waiting) >= _PLACES:
                yield _file(pl.concat(waiting))
                waiting = []
        if waiting:
            yield _file(pl.concat(waiting))


def _file(rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    shown = rows.filter(pl.col(ARM) != "shadow").with_columns(pl.col(TIME).cast(TIMESTAMP))
    name = appended_name(_SOURCE, rows["seq"][0], rows["seq"][-1])
    return name, shown.select(IMPRESSIONS).sort(TIME, REQUEST, POSITION)
