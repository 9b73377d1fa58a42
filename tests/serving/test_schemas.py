from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from recloop.serving.schemas import MAX_EXCLUDE, MAX_HISTORY, RecommendRequest, SimilarRequest, Timestamp

TIMESTAMP: TypeAdapter[int] = TypeAdapter(Timestamp)


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [
        (0, 0),
        (12, 12_000_000),
        (1_700_000_000.000_001, 1_700_000_000_000_001),
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01 00:00:01.5", 1_500_000),
        ("1970-01-02", 86_400_000_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("9999-01-01T00:00:00.000001Z", 253_370_764_800_000_001),
    ],
)
def test_a_time_is_seconds_or_iso_8601_and_utc_where_it_names_no_zone(written: object, microseconds: int) -> None:
    assert TIMESTAMP.validate_python(written) == microseconds


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        (True, "must be seconds since 1970 or ISO 8601 text"),
        (None, "must be seconds since 1970 or ISO 8601 text"),
        ("yesterday", "is no ISO 8601 time such as"),
        ("", "is no ISO 8601 time such as"),
        (-1, "must lie between the years 1970 and 9999"),
        (10**400, "must lie between the years 1970 and 9999"),
        (float("nan"), "must lie between the years 1970 and 9999"),
        (float("inf"), "must lie between the years 1970 and 9999"),
        ("1969-12-31T23:59:59Z", "must lie between the years 1970 and 9999"),
        ("0001-01-01T00:00:00+14:00", "must lie between the years 1970 and 9999"),
        (1_700_000_000_000, "numbers are seconds since 1970"),
    ],
)
def test_what_is_no_time_is_refused_with_the_rule(written: object, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        TIMESTAMP.validate_python(written)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001 - given a zone below
def test_iso_8601_is_read_to_the_microsecond(moment: datetime) -> None:
    utc = moment.replace(tzinfo=UTC)
    expected = (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert TIMESTAMP.validate_python(utc.isoformat()) == expected
    assert TIMESTAMP.validate_python(moment.isoformat()) == expected


def test_nothing_at_all_is_a_request() -> None:
    request = RecommendRequest.model_validate_json(b"{}")
    assert (request.user_id, request.history, request.k, request.exclude) == (None, None, 10, [])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": 7}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "a" * 257}, "user_id"),
        ({"user_id": "a\x00"}, "user_id"),
        ({"k": 0}, "k"),
        ({"k": 101}, "k"),
        ({"k": "5"}, "k"),
        ({"k": True}, "k"),
        ({"k": 2.5}, "k"),
        ({"history": [{"item_id": "a"}] * (MAX_HISTORY + 1)}, "history"),
        ({"history": [{"item_id": "a"}, {}]}, "history.1.item_id"),
        ({"history": [{"item_id": "a", "value": "much"}]}, "history.0.value"),
        ({"history": [{"item_id": "a", "rating": 5}]}, "history.0.rating"),
        ({"exclude": ["a"] * (MAX_EXCLUDE + 1)}, "exclude"),
        ({"exclude": "a"}, "exclude"),
        ({"filters": {"year": {}}}, "filters.year"),
        ({"filters": {"year": 1999}}, "filters.year"),
        ({"filters": {"year": {"any_of": ["a"] * 101}}}, "filters.year.any_of"),
        ({"filters": {f"attribute {number}": ["a"] for number in range(21)}}, "filters"),
        ({"surprise": {}}, "surprise"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RecommendRequest.model_validate(body)
    assert ".".join(str(part) for part in caught.value.errors()[0]["loc"]) == field


def test_similar_needs_an_item() -> None:
    with pytest.raises(ValidationError, match="item_id"):
        SimilarRequest.model_validate({"k": 3})
