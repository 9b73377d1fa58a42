"""How tests spoil tables and look up what was found."""

from typing import Any

import polars as pl

from recloop.expectations.validation import Validation


def first(frame: pl.DataFrame, rows: int, **cells: Any) -> pl.DataFrame:
    """`frame` with `cells` put into its first rows."""
    columns = [
        pl.when(pl.int_range(pl.len()) < rows).then(pl.lit(cell, dtype=frame.schema[name])).otherwise(name).alias(name)
        for name, cell in cells.items()
    ]
    return frame.with_columns(columns)


def check(validation: Validation, rule: str, table: str = "interactions") -> dict[str, Any]:
    found = [check for check in validation.report["checks"] if (check["table"], check["rule"]) == (table, rule)]
    assert len(found) == 1, [(check["table"], check["rule"]) for check in validation.report["checks"]]
    return found[0]
