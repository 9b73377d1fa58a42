"""Rules about columns of ids: an id is there, is not empty, and, where it is a table's key, is there once."""

import polars as pl

from recloop.expectations.rule import Rule, derived_rule


def null_rule(column: str) -> Rule:
    """`column` is never null."""
    return Rule(
        name=f"null_{column}",
        column=column,
        says=f"no {column} is missing",
        remedy="fill the cell at its source, or leave the row out",
        expectation="ExpectColumnValuesToNotBeNull",
        arguments={"column": column},
        bad=pl.col(column).is_null(),
        quarantine=True,
        tolerated=None,
    )


def blank_rule(column: str) -> Rule:
    """`column` is never the empty text."""
    return Rule(
        name=f"blank_{column}",
        column=column,
        says=f"no {column} is an empty text",
        remedy="fill the cell at its source, or leave the row out",
        expectation="ExpectColumnValueLengthsToBeBetween",
        arguments={"column": column, "min_value": 1},
        bad=pl.col(column).str.len_bytes() == 0,
        quarantine=True,
        tolerated=None,
    )


def key_rules(column: str) -> list[Rule]:
    """`column` is a key: there, not empty, and unique; of rows with one key, the first stays."""
    repeated = derived_rule(
        name=f"duplicate_{column}",
        column=column,
        says=f"every {column} has one row",
        remedy="keep one row an id at its source",
        bad=pl.col(column).is_not_null() & ~pl.col(column).is_first_distinct(),
        quarantine=True,
        tolerated=None,
    )
    return [null_rule(column), blank_rule(column), repeated]
