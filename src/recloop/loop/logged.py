"""Events and impressions of a data folder, in the frames that `attribution.attribute` takes from the store as well."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recloop.columns import IMPRESSIONS, INTERACTIONS, REQUEST, TIME
from recloop.errors import DataError
from recloop.store.events import SCHEMA
from recloop.store.slates import PLACES

_ROWS = 100_000


def impressions(data: Path) -> Iterator[pl.DataFrame]:
    """Frames of the impressions that a data folder holds, for `attribute`; none if it holds none.

    `seq` numbers the slates from 1 in the order of the files.

    Raises:
        DataError: a file is damaged.
    """
    seq, last = 0, None
    for frame in _batches(data / "impressions", IMPRESSIONS):
        begins = pl.col(REQUEST).ne_missing(pl.col(REQUEST).shift(1, fill_value=pl.lit(last, dtype=pl.String)))
        numbered = frame.with_columns((seq + begins.cum_sum().cast(pl.Int64)).alias("seq"))
        seq, last = numbered["seq"][-1], numbered[REQUEST][-1]
        yield numbered.select(*PLACES)


def events(data: Path) -> Iterator[pl.DataFrame]:
    """Frames of the interactions of a data folder, for `attribute`, from those files that know of requests.

    Raises:
        DataError: a file is damaged.
    """
    seq = 0
    for frame in _batches(data / "interactions", (*INTERACTIONS, REQUEST)):
        yield frame.with_row_index("seq", offset=seq + 1).select(
            pl.col(name).cast(SCHEMA[name]) for name in ("seq", *INTERACTIONS, REQUEST)
        )
        seq += frame.height


def _batches(folder: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of those Parquet files of a folder that have all these columns; times are microseconds."""
    for path in sorted(folder.glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                if not set(columns) <= set(file.schema_arrow.names):
                    continue
                for batch in file.iter_batches(_ROWS, columns=list(columns)):
                    frame = pl.from_arrow(batch)
                    assert isinstance(frame, pl.DataFrame)
                    if frame.height:
                        yield frame.with_columns(pl.col(TIME).cast(pl.Int64))
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path} is not a readable Parquet file ({reason}); fetch or write it again.") from None
