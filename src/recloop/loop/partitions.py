"""Rows on disk, split by a hash of one column: all rows of a key lie in one part, and one part fits into memory."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

_PART = "__part"


class Partitions:
    """Takes frames, then gives their rows back part by part.

    The parts of two objects with equal `parts` belong together where their keys mean the same.

    Args:
        folder: where the parts are kept; made if missing. It belongs to this object.
        key: the column whose hash chooses the part; null is a value like any other.
        parts: how many.
    """

    def __init__(self, folder: Path, key: str, parts: int) -> None:
        self._folder = folder
        self._key = key
        self._parts = parts
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, frame: pl.DataFrame) -> None:
        """Keep the rows of a frame; all frames have the same columns."""
        part = (pl.col(self._key).hash(seed=0) % self._parts).cast(pl.Int32).alias(_PART)
        for (index,), rows in frame.with_columns(part).partition_by(_PART, include_key=False, as_dict=True).items():
            self._write(index, rows)

    def write(self, index: int, frame: pl.DataFrame) -> None:
        """Keep rows in a part that the caller knows."""
        assert 0 <= index < self._parts
        self._write(index, frame)

    def finish(self) -> None:
        """No more frames come."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def read(self, index: int, schema: dict[str, pl.DataType]) -> pl.DataFrame:
        """The rows of one part, in the order in which they came; `schema` is what an empty part looks like."""
        path = self._path(index)
        if not path.is_file():
            return pl.DataFrame(schema=schema)
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            frame = pl.from_arrow(reader.read_all())
        assert isinstance(frame, pl.DataFrame)
        return frame.cast(dict(schema))  # pyright: ignore[reportArgumentType]

    def indices(self) -> Iterator[int]:
        """The numbers of the parts."""
        return iter(range(self._parts))

    def _path(self, index: int) -> Path:
        return self._folder / f"{index}.arrows"

    def _write(self, index: int, frame: pl.DataFrame) -> None:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if index not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writers[index] = pa.ipc.new_stream(str(self._path(index)), table.schema, options=options)
        self._writers[index].write_table(table)
