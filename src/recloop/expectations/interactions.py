"""What must hold for the interactions: who did what to which item, when, and how strongly."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import AfterValidator, Field

from recloop.columns import EVENT, INTERACTIONS, ITEM, TIME, USER, VALUE
from recloop.config import Config
from recloop.data.tables import TIMESTAMP, Tables
from recloop.expectations.ids import blank_rule, null_rule
from recloop.expectations.rule import Rule, Severity, derived_rule
from recloop.expectations.schema import schema_rules

_TYPES = {USER: pl.String(), ITEM: pl.String(), TIME: TIMESTAMP, EVENT: pl.String(), VALUE: pl.Float32()}

RowRule = Literal[
    "null_user_id",
    "null_item_id",
    "null_timestamp",
    "null_event",
    "null_value",
    "blank_user_id",
    "blank_item_id",
    "infinite_value",
    "value_out_of_bounds",
    "timestamp_in_future",
    "duplicate_event",
    "unknown_item",
    "unknown_user",
]


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound must not be above the upper one")
    return bounds


class InteractionsConfig(Config):
    """What interactions may look like.

    Attributes:
        min_rows: fewer rows than this are critical.
        value_bounds: for a kind of event, the lowest and the highest value that it may have, both included.
        clock_skew_minutes: how far ahead of now an event may lie, since clocks differ.
        max_age_days: where set, an older newest event is reported.
        severity: what a broken rule is, where it is not the rule's own severity.
        tolerated: for a rule about rows, the share that may break it, where it is not `ValidateConfig.tolerated_share`.
    """

    min_rows: int = Field(default=1, ge=1)
    value_bounds: dict[str, Annotated[tuple[float, float], AfterValidator(_ordered)]] = Field(default={})
    clock_skew_minutes: float = Field(default=5.0, ge=0, le=525_600)
    max_age_days: float | None = Field(default=None, gt=0, le=100_000)
    severity: dict[RowRule | Literal["stale"], Severity] = Field(default={})
    tolerated: dict[RowRule, Annotated[float, Field(ge=0, le=1)]] = Field(default={})


def rules(tables: Tables, config: InteractionsConfig, now: datetime) -> list[Rule]:
    """The rules for the interactions of `tables`; only those of the schema where that does not hold.

    Args:
        tables: all tables, since interactions name items and users.
        config: thresholds.
        now: the present, with a time zone.
    """
    frame = tables.interactions
    schema = schema_rules(frame, _TYPES)
    if not all(rule.holds for rule in schema):
        return schema
    about_rows = [
        *(null_rule(column) for column in INTERACTIONS if column != VALUE),
        _null_value_rule(),
        blank_rule(USER),
        blank_rule(ITEM),
        _finite_rule(),
        *(_bounds_rule(event, low, high) for event, (low, high) in sorted(config.value_bounds.items())),
        _future_rule(now + timedelta(minutes=config.clock_skew_minutes)),
        _duplicate_rule(),
        *_reference_rules(ITEM, tables.items, "item"),
        *_reference_rules(USER, tables.users, "user"),
    ]
    return [
        *schema,
        *about_rows,
        _rows_rule(config.min_rows, about_rows),
        *_age_rules(frame, config.max_age_days, now),
    ]


def _rows_rule(least: int, about_rows: Sequence[Rule]) -> Rule:
    bad = [rule.bad.fill_null(value=False) for rule in about_rows if rule.quarantine and rule.bad is not None]
    return Rule(
        name="too_few_rows",
        says=f"at least {least} interactions are usable",
        remedy="check the source and its filters, then ingest again",
        expectation="ExpectColumnSumToBeBetween",
        arguments={"column": "usable", "min_value": least},
        derived=~pl.any_horizontal(bad),
    )


def _null_value_rule() -> Rule:
    return Rule(
        name="null_value",
        column=VALUE,
        says="every event has a value",
        remedy="give a number, for example 1 for events without a rating",
        expectation="ExpectColumnValuesToNotBeNull",
        arguments={"column": VALUE},
        bad=pl.col(VALUE).is_null() | pl.col(VALUE).is_nan(),
        quarantine=True,
        tolerated=None,
    )


def _finite_rule() -> Rule:
    return derived_rule(
        name="infinite_value",
        column=VALUE,
        says="no value is infinite",
        remedy="look for a division by zero or a number beyond float32 at the source",
        bad=pl.col(VALUE).is_infinite(),
        quarantine=True,
        tolerated=None,
    )


def _bounds_rule(event: str, low: float, high: float) -> Rule:
    value = pl.col(VALUE)
    least, greatest = float(np.float32(low)), float(np.float32(high))  # as values are
    return Rule(
        name="value_out_of_bounds",
        column=VALUE,
        says=f"the value of every '{event}' lies between {low:g} and {high:g}",
        remedy="correct the values, or move validate.interactions.value_bounds",
        expectation="ExpectColumnValuesToBeBetween",
        arguments={"column": VALUE, "min_value": least, "max_value": greatest, "row_condition": (EVENT, event)},
        bad=(pl.col(EVENT) == event) & value.is_not_nan() & ((value < least) | (value > greatest)),
        quarantine=True,
        tolerated=None,
    )


def _future_rule(latest: datetime) -> Rule:
    return derived_rule(
        name="timestamp_in_future",
        column=TIME,
        says="no event lies in the future",
        remedy="check the time zone and the unit of the timestamps, and the clock of the machine that wrote them",
        bad=pl.col(TIME) > latest,
        quarantine=True,
        tolerated=None,
    )


def _duplicate_rule() -> Rule:
    return derived_rule(
        name="duplicate_event",
        says="no event repeats another in every column",
        remedy="look for an export that was ingested twice",
        bad=~pl.struct(INTERACTIONS).is_first_distinct(),
        quarantine=True,
        tolerated=None,
    )


def _reference_rules(column: str, target: pl.DataFrame | None, one: str) -> list[Rule]:
    if target is None or target.schema.get(column) != pl.String:
        return []
    known = target[column].drop_nulls().unique()
    rule = derived_rule(
        name=f"unknown_{one}",
        column=column,
        says=f"every {one} of an event has a row in the table of {one}s",
        remedy=f"add the missing {one}s to their table, or accept that they have no attributes",
        bad=~pl.col(column).is_in(known.implode()),
        severity="warning",
    )
    return [rule]


def _age_rules(frame: pl.DataFrame, most_days: float | None, now: datetime) -> list[Rule]:
    if most_days is None:
        return []
    newest: Any = frame[TIME].max()
    rule = Rule(
        name="stale",
        column=TIME,
        says=f"the newest event is at most {most_days:g} days old",
        remedy="ingest newer events, or move validate.interactions.max_age_days",
        expectation="ExpectColumnDistinctValuesToContainSet",
        arguments={"column": "recent", "value_set": [True]},
        derived=pl.col(TIME) >= now - timedelta(days=most_days),
        severity="warning",
        observed=None if newest is None else newest.isoformat(),
    )
    return [rule]
