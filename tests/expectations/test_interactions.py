from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from recloop.config import parse
from recloop.data.tables import Tables, canonical_interactions
from recloop.errors import ConfigError, FailedExpectationError
from recloop.expectations.interactions import InteractionsConfig
from recloop.expectations.validation import ValidateConfig, validate
from tests.expectations.asking import check, first

FUTURE = datetime(2026, 3, 2, tzinfo=UTC)
BOUNDED = ValidateConfig(interactions=InteractionsConfig(value_bounds={"rating": (1, 5)}))


def test_a_table_without_fault_passes_every_rule(tables: Tables, now: datetime) -> None:
    config = ValidateConfig(interactions=InteractionsConfig(value_bounds={"rating": (1, 5)}, max_age_days=30))
    validation = validate(tables, config, previous={"interactions": 39}, now=now)
    assert all(one["success"] for one in validation.report["checks"])
    assert validation.report["success"] is True
    assert validation.report["rows"] == {"interactions": 40, "items": 8, "users": 5, "knowledge": 8}
    assert validation.report["quarantined"] == 0
    assert validation.report["quarantined_by_reason"] == {}
    assert validation.quarantine.schema == {"table": pl.String, "reason": pl.String, "row": pl.String}
    assert validation.clean.interactions.equals(tables.interactions)
    validation.require()


@pytest.mark.parametrize(
    ("rule", "column", "cells"),
    [
        ("null_user_id", "user_id", {"user_id": None}),
        ("null_item_id", "item_id", {"item_id": None}),
        ("null_timestamp", "timestamp", {"timestamp": None}),
        ("null_event", "event", {"event": None}),
        ("null_value", "value", {"value": None}),
        ("null_value", "value", {"value": float("nan")}),
        ("blank_user_id", "user_id", {"user_id": ""}),
        ("blank_item_id", "item_id", {"item_id": ""}),
        ("infinite_value", "value", {"value": float("-inf")}),
        ("value_out_of_bounds", "value", {"value": 5.5}),
        ("value_out_of_bounds", "value", {"value": 0.5}),
        ("timestamp_in_future", "timestamp", {"timestamp": FUTURE}),
    ],
)
def test_few_bad_rows_go_to_quarantine_and_many_stop_the_pipeline(
    events: pl.DataFrame, now: datetime, rule: str, column: str, cells: dict[str, Any]
) -> None:
    few = validate(Tables(interactions=first(events, 2, **cells)), BOUNDED, previous=None, now=now)
    one = check(few, rule)
    assert (one["column"], one["severity"], one["success"], one["failing"]) == (column, "warning", False, 2)
    assert one["observed"] == 0.05
    assert len(one["examples"]) == 2
    assert few.report["success"] is True
    assert few.report["quarantined_by_reason"] == {f"interactions.{rule}": 2}
    assert few.quarantine["reason"].to_list() == [rule, rule]
    assert few.clean.interactions.equals(events[2:])
    few.require()

    many = validate(Tables(interactions=first(events, 3, **cells)), BOUNDED, previous=None, now=now)
    one = check(many, rule)
    assert (one["severity"], one["success"], one["failing"]) == ("critical", False, 3)
    assert many.report["success"] is False
    with pytest.raises(FailedExpectationError, match=f"column '{column}' of interactions breaks the rule '{rule}'"):
        many.require()


def test_the_error_names_rule_column_count_examples_and_remedy(events: pl.DataFrame, now: datetime) -> None:
    frame = first(events, 3, value=9.0)
    validation = validate(Tables(interactions=first(frame, 40, user_id="")), BOUNDED, previous=None, now=now)
    with pytest.raises(FailedExpectationError) as raised:
        validation.require()
    row = (
        '{{"user_id": "", "item_id": "i0", "timestamp": "2026-01-0{}T00:00:00+00:00", "event": "rating", "value": 9.0}}'
    )
    assert str(raised.value) == (
        "column 'user_id' of interactions breaks the rule 'blank_user_id' (no user_id is an empty text) "
        f"in 40 of 40 rows, more than the tolerated share 0.05, for example "
        f"{row.format(1)}, {row.format(2)}, {row.format(3)}; "
        "fill the cell at its source, or leave the row out; "
        "further critical rules fail: interactions.value_out_of_bounds, interactions.too_few_rows."
    )


def test_of_equal_events_the_first_stays(events: pl.DataFrame, now: datetime) -> None:
    twice = canonical_interactions(pl.concat([events, events[:1], events[:1]]), "twice")
    validation = validate(Tables(interactions=twice), ValidateConfig(), previous=None, now=now)
    assert check(validation, "duplicate_event")["failing"] == 2
    assert validation.report["quarantined_by_reason"] == {"interactions.duplicate_event": 2}
    assert validation.clean.interactions.equals(events)


def test_a_repeated_pair_with_another_time_is_no_duplicate(events: pl.DataFrame, now: datetime) -> None:
    again = events[:1].with_columns(pl.col("timestamp") + timedelta(days=1))
    frame = canonical_interactions(pl.concat([events, again]), "again")
    validation = validate(Tables(interactions=frame), ValidateConfig(), previous=None, now=now)
    assert check(validation, "duplicate_event")["success"] is True


def test_a_row_with_several_faults_is_kept_aside_once(events: pl.DataFrame, now: datetime) -> None:
    frame = first(events, 1, item_id=None, timestamp=FUTURE)
    validation = validate(Tables(interactions=frame), ValidateConfig(), previous=None, now=now)
    assert validation.report["quarantined_by_reason"] == {"interactions.null_item_id": 1}
    assert check(validation, "timestamp_in_future")["failing"] == 1
    assert validation.quarantine["row"].to_list() == [
        '{"user_id":"u0","item_id":null,"timestamp":"2026-03-02T00:00:00+00:00","event":"rating","value":1.0}'
    ]


def test_bounds_count_for_their_own_event_alone(events: pl.DataFrame, now: datetime) -> None:
    frame = first(events, 2, event="view", value=100.0)
    validation = validate(Tables(interactions=frame), BOUNDED, previous=None, now=now)
    assert check(validation, "value_out_of_bounds")["success"] is True


def test_a_bound_that_float32_cannot_hold_includes_itself(events: pl.DataFrame, now: datetime) -> None:
    config = ValidateConfig(interactions=InteractionsConfig(value_bounds={"rating": (0.1, 5.1)}))
    frame = first(events, 1, value=0.1).with_columns(
        pl.when(pl.int_range(pl.len()) == 1).then(pl.lit(5.1, dtype=pl.Float32)).otherwise("value").alias("value")
    )
    validation = validate(Tables(interactions=frame), config, previous=None, now=now)
    assert check(validation, "value_out_of_bounds")["failing"] == 0


def test_clocks_may_differ_by_the_configured_skew(events: pl.DataFrame, now: datetime) -> None:
    frame = first(events, 1, timestamp=now + timedelta(minutes=10))
    strict = validate(Tables(interactions=frame), ValidateConfig(), previous=None, now=now)
    assert check(strict, "timestamp_in_future")["failing"] == 1
    config = ValidateConfig(interactions=InteractionsConfig(clock_skew_minutes=10))
    lax = validate(Tables(interactions=frame), config, previous=None, now=now)
    assert check(lax, "timestamp_in_future")["failing"] == 0


def test_unknown_items_and_users_are_reported_and_stay(tables: Tables, events: pl.DataFrame, now: datetime) -> None:
    frame = first(events, 3, item_id="new", user_id="nobody")
    changed = Tables(interactions=frame, items=tables.items, users=tables.users)
    validation = validate(changed, ValidateConfig(), previous=None, now=now)
    for rule, column in (("unknown_item", "item_id"), ("unknown_user", "user_id")):
        one = check(validation, rule)
        assert (one["column"], one["severity"], one["success"], one["failing"]) == (column, "warning", False, 3)
    assert validation.report["success"] is True
    assert validation.clean.interactions.height == 40

    config = ValidateConfig(interactions=InteractionsConfig(severity={"unknown_item": "critical"}))
    with pytest.raises(FailedExpectationError, match=r"'unknown_item' .* in 3 of 40 rows, for example .*; add the"):
        validate(changed, config, previous=None, now=now).require()

    config = ValidateConfig(interactions=InteractionsConfig(tolerated={"unknown_item": 0.1}))
    one = check(validate(changed, config, previous=None, now=now), "unknown_item")
    assert (one["success"], one["failing"], one["observed"]) == (True, 3, 0.075)


def test_without_a_table_to_refer_to_nothing_is_asked(events: pl.DataFrame, now: datetime) -> None:
    validation = validate(Tables(interactions=events), ValidateConfig(), previous=None, now=now)
    assert not {"unknown_item", "unknown_user"} & {one["rule"] for one in validation.report["checks"]}


def test_an_old_newest_event_is_reported_where_an_age_is_set(events: pl.DataFrame, now: datetime) -> None:
    config = ValidateConfig(interactions=InteractionsConfig(max_age_days=19))
    one = check(validate(Tables(interactions=events), config, previous=None, now=now), "stale")
    assert (one["severity"], one["success"], one["failing"]) == ("warning", False, 1)
    assert one["observed"] == "2026-02-09T00:00:00+00:00"
    config = ValidateConfig(interactions=InteractionsConfig(max_age_days=20))
    assert check(validate(Tables(interactions=events), config, previous=None, now=now), "stale")["success"] is True


def test_no_interactions_at_all_are_critical(events: pl.DataFrame, now: datetime) -> None:
    config = ValidateConfig(interactions=InteractionsConfig(max_age_days=19, value_bounds={"rating": (1, 5)}))
    validation = validate(Tables(interactions=events.clear()), config, previous=None, now=now)
    with pytest.raises(FailedExpectationError) as raised:
        validation.require()
    assert str(raised.value) == (
        "table interactions breaks the rule 'too_few_rows' (at least 1 interactions are usable), found 0; "
        "check the source and its filters, then ingest again."
    )


def test_interactions_that_all_go_to_quarantine_are_critical(events: pl.DataFrame, now: datetime) -> None:
    config = ValidateConfig(tolerated_share=1)
    validation = validate(Tables(interactions=first(events, 40, user_id=None)), config, previous=None, now=now)
    assert check(validation, "null_user_id")["severity"] == "warning"
    assert check(validation, "too_few_rows")["severity"] == "critical"
    assert validation.report["success"] is False


def test_a_missing_column_is_critical_and_the_only_thing_said(events: pl.DataFrame, now: datetime) -> None:
    validation = validate(Tables(interactions=events.drop("timestamp")), ValidateConfig(), previous=None, now=now)
    with pytest.raises(
        FailedExpectationError, match=r"'missing_column' .the table has the columns .*timestamp"
    ) as raised:
        validation.require()
    assert 'found ["user_id", "item_id", "event", "value"]; map or rename' in str(raised.value)


@pytest.mark.parametrize("rows", [0, 40])
def test_a_wrong_type_is_critical(events: pl.DataFrame, now: datetime, rows: int) -> None:
    naive = events.head(rows).with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    validation = validate(Tables(interactions=naive), ValidateConfig(), previous=None, now=now)
    with pytest.raises(FailedExpectationError, match=r"'timestamp' .*'wrong_type' .timestamp is a UTC time., found"):
        validation.require()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"value_bounds": {"rating": [5, 1]}}, "the lower bound must not be above the upper one"),
        ({"severity": {"sloth": "warning"}}, "'sloth', but input should be 'null_user_id'"),
        ({"severity": {"stale": "deadly"}}, "severity.stale is 'deadly', but input should be 'critical' or 'warning'"),
        ({"tolerated": {"null_value": 2}}, "tolerated.null_value is 2, but input should be less than or equal to 1"),
        ({"tolerated": {"stale": 0.1}}, "'stale', but input should be 'null_user_id'"),
        ({"min_rows": 0}, "min_rows is 0, but input should be greater than or equal to 1"),
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(ValidateConfig, {"interactions": values}, "params.yaml: validate")
    assert sentence in str(raised.value)
