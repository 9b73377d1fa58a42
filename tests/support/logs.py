"""A data folder's log of slates of one place, and what people did with them."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recloop.columns import IMPRESSIONS
from recloop.data.tables import canonical_interactions, write_parquet


def write_log(
    data: Path,
    *,
    users: Sequence[str],
    items: Sequence[str],
    moments: Sequence[int],
    clicked: Sequence[bool],
    propensity: float,
    bundle: str,
    policy: str = "epsilon_slots",
    arm: str = "champion",
) -> None:
    """Slates at these moments (microseconds), each of one item; a clicked one is clicked a second later."""
    count = len(users)
    shown = pl.DataFrame(
        {
            "request_id": [f"r{number}" for number in range(count)],
            "position": pl.Series([0] * count, dtype=pl.Int32),
            "user_id": list(users),
            "item_id": list(items),
            "timestamp": pl.Series(list(moments), dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "score": [0.0] * count,
            "propensity": [propensity] * count,
            "policy": [policy] * count,
            "bundle": [bundle] * count,
            "arm": [arm] * count,
        }
    )
    write_parquet(shown.select(IMPRESSIONS), data / "impressions/feedback-1-9.parquet")
    acted = shown.filter(pl.Series(list(clicked)))
    events = canonical_interactions(
        acted.select(
            "user_id", "item_id", pl.col("timestamp") + pl.duration(seconds=1), pl.lit("click").alias("event")
        ),
        "test",
    )
    requests = acted.select("user_id", "item_id", pl.col("timestamp") + pl.duration(seconds=1), "request_id")
    joined = events.join(requests, on=["user_id", "item_id", "timestamp"], how="left", maintain_order="left")
    write_parquet(joined, data / "interactions/feedback-1-9.parquet")
