"""What must hold for the table of items."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from recloop.columns import CATEGORIES, ITEM, TITLE
from recloop.config import Config
from recloop.expectations.ids import key_rules
from recloop.expectations.rule import Rule, Severity, derived_rule
from recloop.expectations.schema import schema_rules

RowRule = Literal["null_item_id", "blank_item_id", "duplicate_item_id", "missing_title", "missing_categories"]


class ItemsConfig(Config):
    """What items may look like.

    Attributes:
        severity: what a broken rule is, where it is not the rule's own severity.
        tolerated: for a rule about rows, the share that may break it, where it is not `ValidateConfig.tolerated_share`.
    """

    severity: dict[RowRule, Severity] = Field(default={})
    tolerated: dict[RowRule, Annotated[float, Field(ge=0, le=1)]] = Field(default={})


def rules(frame: pl.DataFrame) -> list[Rule]:
    """The rules for a table of items; only those of the schema where that does not hold."""
    schema = [*schema_rules(frame, {ITEM: pl.String()}), *_categories_type(frame)]
    if not all(rule.holds for rule in schema):
        return schema
    found = [*schema, *key_rules(ITEM)]
    if frame.schema.get(TITLE) == pl.String:
        found.append(_missing(TITLE, pl.col(TITLE).fill_null("").str.len_bytes() == 0, "a title"))
    if CATEGORIES in frame.columns:
        found.append(_missing(CATEGORIES, pl.col(CATEGORIES).list.len().fill_null(0) == 0, "a category"))
    return found


def _categories_type(frame: pl.DataFrame) -> list[Rule]:
    if CATEGORIES not in frame.columns:
        return []
    kind = frame.schema[CATEGORIES]
    holds = kind == pl.List(pl.String)
    rule = Rule(
        name="wrong_type",
        column=CATEGORIES,
        says=f"{CATEGORIES} is a list of text",
        remedy="split the column into lists where the table is written, or give it another name",
        expectation="ExpectColumnValuesToBeInSet",
        arguments={"column": "categories_is_a_list", "value_set": [True]},
        derived=pl.lit(holds),
        holds=holds,
        observed=str(kind),
    )
    return [rule]


def _missing(column: str, bad: pl.Expr, one: str) -> Rule:
    return derived_rule(
        name=f"missing_{column}",
        column=column,
        says=f"every item has {one}",
        remedy=f"fill the column {column} at its source, or accept that content cannot help these items",
        bad=bad,
        severity="warning",
    )
