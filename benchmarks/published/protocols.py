"""The protocols of the published numbers: benchmark data in, the files of `recloop benchmark` out.

The benchmark data lie in the folder that RECLOOP_BENCH_DATA names (default: ../shared/data).
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("RECLOOP_BENCH_DATA", ROOT.parent / "shared" / "data"))


def source(name: str) -> Path:
    """A file of the benchmark data; ends the program with a sentence if it is not there."""
    path = DATA / name
    if not path.is_file():
        sys.exit(f"{path} does not exist; name the folder of the benchmark data by RECLOOP_BENCH_DATA.")
    return path


def _leave_one_out(name: str, folder: Path) -> dict[str, Path]:
    """Each person's last event is the test, the one before it validation; at test time it is context."""
    frame = pl.read_parquet(source(f"{name}/interactions.parquet"))
    back = pl.col("position").max().over("user_id") - pl.col("position")
    parts = {"train": back >= 2, "valid": back == 1, "test": back == 0}
    for part, rows in parts.items():
        frame.filter(rows).write_parquet(folder / f"{part}.parquet")
    items = folder / "items.parquet"
    table = pl.read_parquet(source(f"{name}/items.parquet"))
    lists = [column for column, kind in table.schema.items() if isinstance(kind, pl.List)]
    table.with_columns(pl.col(column).cast(pl.List(pl.String)) for column in lists).write_parquet(items)
    return {part: folder / f"{part}.parquet" for part in parts} | {"items": items}


def ml_1m(folder: Path) -> dict[str, Path]:
    """MovieLens-1M, leave one out, as SASRec, BERT4Rec and gSASRec use it."""
    return _leave_one_out("ml-1m", folder)


def amazon_beauty(folder: Path) -> dict[str, Path]:
    """Amazon Beauty 5-core, leave one out."""
    return _leave_one_out("amazon-beauty", folder)


def ml_1m_ncf(folder: Path) -> dict[str, Path]:
    """MovieLens-1M as NCF splits it: the test item among 99 negatives that were drawn once for all."""
    del folder
    return {part: source(f"ml-1m-ncf/{part}.parquet") for part in ("train", "test", "negatives")}


def ml_100k(folder: Path) -> dict[str, Path]:
    """MovieLens-100K, of each person's events a random 90% to learn from and 10% to find.

    A ninth of the 90%, ``valid.parquet`` in the folder, is what parameters were chosen by, with ``train.parquet`` to
    learn from. The events are those that `recloop ingest` has put into `data/`; the draw is the same on any machine.
    """
    path = ROOT / "data/interactions/movielens-100k.parquet"
    if not path.is_file():
        sys.exit(f"{path} does not exist; run 'recloop ingest' first.")
    frame = pl.read_parquet(path).select(pl.col("user_id", "item_id").cast(pl.Int64)).sort("user_id", "item_id")
    drawn = frame.with_columns(draw=np.random.default_rng(0).random(frame.height))
    place = (pl.col("draw").rank("ordinal") - 0.5).over("user_id") / pl.len().over("user_id")
    parts = {"train": place < 0.8, "valid": place.is_between(0.8, 0.9, closed="left"), "test": place >= 0.9}
    parts["learnt"] = ~parts["test"]
    for part, rows in parts.items():
        drawn.filter(rows).drop("draw").write_parquet(folder / f"{part}.parquet")
    return {"train": folder / "learnt.parquet", "test": folder / "test.parquet"}


PROTOCOLS: dict[str, Callable[[Path], dict[str, Path]]] = {
    "ml-1m": ml_1m,
    "ml-100k": ml_100k,
    "ml-1m-ncf": ml_1m_ncf,
    "amazon-beauty": amazon_beauty,
}
