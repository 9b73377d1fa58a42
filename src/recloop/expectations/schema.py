"""Rules about the columns of a table and their types. The other rules are only asked where these hold."""

from collections.abc import Mapping

import polars as pl

from recloop.data.tables import TIMESTAMP
from recloop.expectations.rule import Rule

# a type of polars -> the name that Great Expectations has for its counterpart in pandas, and a plain one
_NAMES: dict[pl.DataType, tuple[str, str]] = {
    pl.String(): ("str", "text"),
    TIMESTAMP: ("Timestamp", "a UTC time"),
    pl.Float32(): ("float32", "a float32"),
}


def schema_rules(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> list[Rule]:
    """`frame` has the columns named in `types`, and each has its type."""
    columns = Rule(
        name="missing_column",
        says=f"the table has the columns {', '.join(types)}",
        remedy="map or rename columns to these names in 'ingest'",
        expectation="ExpectTableColumnsToMatchSet",
        arguments={"column_set": list(types), "exact_match": False},
        observed=frame.columns,
        holds=set(types) <= set(frame.columns),
    )
    return [columns, *(_type_rule(frame, name, kind) for name, kind in types.items() if name in frame.columns)]


def _type_rule(frame: pl.DataFrame, column: str, kind: pl.DataType) -> Rule:
    pandas, plain = _NAMES[kind]
    return Rule(
        name="wrong_type",
        column=column,
        says=f"{column} is {plain}",
        remedy="convert the column where the table is written, or ingest it again",
        expectation="ExpectColumnValuesToBeOfType",
        arguments={"column": column, "type_": pandas},
        holds=frame.schema[column] == kind,
        observed=str(frame.schema[column]),
    )
