"""Small canonical tables that break no rule, and a clock."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from recloop.data.tables import Tables, canonical_attributes, canonical_interactions, canonical_knowledge


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def events() -> pl.DataFrame:
    """Forty events of five users and eight items, every pair once, ratings from 1 to 5, the newest on 9 February."""
    return canonical_interactions(
        pl.DataFrame(
            {
                "user_id": [f"u{n % 5}" for n in range(40)],
                "item_id": [f"i{n // 5}" for n in range(40)],
                "timestamp": [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(40)],
                "event": ["rating"] * 40,
                "value": [1.0 + n % 5 for n in range(40)],
            }
        ),
        "events",
    )


@pytest.fixture
def tables(events: pl.DataFrame) -> Tables:
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(8)],
            "title": [f"Item {n}" for n in range(8)],
            "categories": [["a"], ["b"]] * 4,
        }
    )
    triples = pl.DataFrame({"head": [f"i{n}" for n in range(8)], "relation": ["made_by"] * 8, "tail": ["x"] * 8})
    return Tables(
        interactions=events,
        items=canonical_attributes(items, "item_id", "items"),
        users=canonical_attributes(pl.DataFrame({"user_id": [f"u{n}" for n in range(5)]}), "user_id", "users"),
        knowledge=canonical_knowledge(triples, "triples"),
    )
