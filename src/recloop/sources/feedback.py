"""What people did with the recommendations: the store's events since the last ingestion, as one more immutable file.

The file is named by the first and the last `seq` that it holds, so the data themselves say how far the store has been
read, and reading again without new events gives nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import polars as pl
from pydantic import Field

from recloop.columns import EVENT, ITEM, TIME, USER, VALUE
from recloop.config import Config as Base
from recloop.data.tables import TIMESTAMP, Tables, canonical_interactions, read_parquet
from recloop.errors import SourceError
from recloop.sources import Batch, SourceContext, appended_name, newest, watermark
from recloop.store import Store

VARIANTS: tuple[str, ...] = ()
_SOURCE = "feedback"
_COMPARED = 100


class Config(Base):
    """Where the store is."""

    url: str | None = Field(
        default=None, description="Database of the store; by default RECLOOP_DATABASE_URL, or else recloop.sqlite here."
    )


def read(config: Config, context: SourceContext) -> Batch | None:
    """The events that the data folder does not hold yet; `None` if there are none.

    An event without a value gets the value 1. Event types are kept as they are.

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
    events = pl.concat([part for _, _, part in parts])
    return Batch(name=name, tables=Tables(interactions=canonical_interactions(events, _SOURCE)), mode="append")


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
    )
