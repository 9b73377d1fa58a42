"""The benchmark's own arithmetic: who is asked what, which parameters are chosen, and what is written."""

from typing import Any

import numpy as np
import polars as pl

from benchmarks.privacy import CHOICES, best, divided, plot, table
from recloop.data.tables import TIMESTAMP


def test_the_newest_films_are_asked_for_and_never_learnt() -> None:
    rows = [("u", item, place) for place, item in enumerate("abcde")] + [("v", "a", 7), ("v", "e", 8), ("v", "b", 9)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").with_columns(
        pl.col("timestamp").cast(pl.Int64).cast(TIMESTAMP), value=pl.lit(1.0, dtype=pl.Float32)
    )
    parts = divided(events)
    assert parts.items.ids.to_list() == ["a", "b", "c"]
    assert [parts.data.histories.items[part].tolist() for part in (slice(0, 3), slice(3, 4))] == [[0, 1, 2], [0]]
    assert parts.data.valid is None
    assert parts.valid.targets.tolist() == [-1, -1], "d and e are not in the catalogue"
    assert parts.test.targets.tolist() == [-1, 1]
    assert np.diff(parts.test.offsets).tolist() == [1, 1]


def test_the_best_parameters_are_chosen() -> None:
    tried = [choice | {"ndcg@10": value} for choice, value in zip(CHOICES, (0.1, 0.3, 0.2), strict=False)]
    assert best(tried) == CHOICES[1]


def record() -> dict[str, Any]:
    private = {"epsilon": 1.99, "noise_multiplier": 3.25, "steps": 420, "sample_rate": 0.25, "delta": 1e-4}
    return {
        "model": "multdae",
        "parameters": {"dim": 64, **CHOICES[0]},
        "people": 6040,
        "events": 987_654,
        "items": 3416,
        "seeds": 2,
        "popularity": [0.02, 0.018, 0.022],
        "runs": [
            {
                "epsilon": 2.0,
                "ndcg@10": [0.03, 0.028, 0.032],
                "of seeds": [0.0295, 0.0305],
                "seconds": [21.2, 22.0],
                "privacy": private | {"max_grad_norm": 1.0},
            },
            {
                "epsilon": None,
                "ndcg@10": [0.05, 0.048, 0.052],
                "of seeds": [0.05, 0.05],
                "seconds": [6.0, 7.0],
                "privacy": None,
            },
        ],
        "choices": [choice | {"ndcg@10": 0.01} for choice in CHOICES],
        "passes": {"sasrec": [2.5, 6.25]},
        "machine": "a machine",
    }


def test_the_table_says_what_was_measured() -> None:
    lines = table(record()).splitlines()
    assert "| 1.99 | 3.25 | 0.0300 (0.0280 to 0.0320) | 0.0295, 0.0305 | 21, 22 |" in lines
    assert "| none: trained without privacy |  | 0.0500 (0.0480 to 0.0520) | 0.0500, 0.0500 | 6, 7 |" in lines
    assert "| popularity, without noise | | 0.0200 (0.0180 to 0.0220) | | |" in lines
    assert "| `sasrec` | 2.50 | 6.25 |" in lines
    assert [line for line in lines if line.endswith("| chosen |")] == ["| 0.003 | 20 | 0.0100 | chosen |"]


def test_the_plot_shows_budgets_and_levels() -> None:
    drawn = plot(record())
    assert drawn.startswith("<svg")
    for words in ("epsilon for each person", "NDCG@10", "multdae without privacy", "popularity, without noise"):
        assert words in drawn
