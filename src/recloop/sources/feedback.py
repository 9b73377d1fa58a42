"""What people did with the recommendations: the store's events since the last ingestion, as one more immutable file.

The file is named by the first and the last `seq` that it holds, so the data themselves say how far the store has been
read, and reading again without new events gives nothing.
"""

from collections.abc import Iterable
from typing import cast

import polars as pl
from pydantic import Field

from recloop.columns import EVENT, ITEM, TIME, USER, VALUE
from recloop.config import Config as Base
from recloop.data.tables import TIMESTAMP, Tables, canonical_interactions
from recloop.errors import SourceError
from recloop.sources import Batch, SourceContext, appended_name, watermark
from recloop.store import Store

VARIANTS: tuple[str, ...] = ()
_SOURCE = "feedback"


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
        SourceError: the store ends before what was already read from it, so it is another one.
    """
    known = watermark(context.data, _SOURCE)
    with Store.open(config.url, root=context.root) as store:
        last = store.last_event_seq()
        if last < known:
            raise SourceError(
                f"The store at {store.url} ends at event {last}, but the data already hold its events up to {known}; "
                f"connect the store that they came from, or remove {context.data}/interactions/{_SOURCE}-*.parquet."
            )
        batches = cast("Iterable[pl.DataFrame]", context.progress(store.events_after(known), _SOURCE))
        parts = [(frame["seq"][0], frame["seq"][-1], _interactions(frame)) for frame in batches]
    if not parts:
        return None
    name = appended_name(_SOURCE, parts[0][0], parts[-1][1])
    events = pl.concat([part for _, _, part in parts])
    return Batch(name=name, tables=Tables(interactions=canonical_interactions(events, _SOURCE)), mode="append")


def _interactions(events: pl.DataFrame) -> pl.DataFrame:
    return events.select(
        USER,
        ITEM,
        pl.col(TIME).cast(TIMESTAMP),
        EVENT,
        pl.col(VALUE).fill_null(1.0).cast(pl.Float32),
    )
