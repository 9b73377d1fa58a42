"""Nothing is lost: whatever the table, each row is clean or in quarantine, and both counts agree with the report."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from recloop.columns import EVENT, ITEM, TIME, USER, VALUE
from recloop.data.tables import Tables, canonical_interactions
from recloop.expectations.interactions import InteractionsConfig, rules
from recloop.expectations.quarantine import as_json, broken_rows, part
from recloop.expectations.validation import ValidateConfig, validate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = {USER: pl.String, ITEM: pl.String, TIME: pl.Datetime("us", "UTC"), EVENT: pl.String, VALUE: pl.Float32}
CELLS = st.tuples(
    st.sampled_from(["u", "v", "", None, "ü\n"]),
    st.sampled_from(["i", "j", "", None]),
    st.sampled_from([NOW, NOW + timedelta(days=1), NOW - timedelta(days=1), None]),
    st.sampled_from(["rating", "view", None]),
    st.sampled_from([0.1, 1.0, 4.1, 9.0, -1.0, float("nan"), float("inf"), float("-inf"), None]),
)


ROWS = st.lists(CELLS, max_size=12)
BOUNDS = st.sampled_from([(0.1, 4.1), (1.0, 5.0), (-1.0, 0.0)])


def table(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return canonical_interactions(pl.DataFrame(rows, schema=TYPES, orient="row"), "rows")


def bounded(bounds: tuple[float, float]) -> InteractionsConfig:
    return InteractionsConfig(value_bounds={"rating": bounds, "view": (0, 9)})


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, repeats=st.integers(1, 3), bounds=BOUNDS)
def test_every_row_is_clean_or_in_quarantine(
    rows: list[tuple[object, ...]], repeats: int, bounds: tuple[float, float]
) -> None:
    frame = table(rows * repeats)
    asked = rules(Tables(interactions=frame), bounded(bounds), NOW)
    clean, quarantine = part("interactions", frame, asked, broken_rows(frame, asked))

    assert sorted([*as_json(clean), *quarantine["row"]]) == sorted(as_json(frame))
    assert clean.null_count().sum_horizontal().item() == 0
    assert clean.is_unique().all()
    assert clean[VALUE].is_finite().all()
    assert clean[TIME].is_sorted()
    assert (clean[TIME] <= NOW).all()
    assert (clean[USER] != "").all()
    assert (clean[ITEM] != "").all()
    ratings = clean.filter(pl.col(EVENT) == "rating")[VALUE]
    assert ratings.is_between(*(float(np.float32(bound)) for bound in bounds)).all()


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(rows=ROWS, tolerated=st.sampled_from([0.0, 0.3, 1.0]), bounds=BOUNDS)
def test_the_report_counts_as_great_expectations_does(
    rows: list[tuple[object, ...]], tolerated: float, bounds: tuple[float, float]
) -> None:
    """Unequal counts would be an `AssertionError` of `validate`."""
    frame = table(rows + rows[:2])
    config = ValidateConfig(tolerated_share=tolerated, interactions=bounded(bounds))
    validation = validate(Tables(interactions=frame), config, previous=None, now=NOW)
    report = validation.report
    assert report["quarantined"] == validation.quarantine.height == sum(report["quarantined_by_reason"].values())
    assert report["rows"]["interactions"] == validation.clean.interactions.height + report["quarantined"]
    failed = [check for check in report["checks"] if not check["success"] and check["severity"] == "critical"]
    assert report["success"] is not bool(failed)
    assert report["success"] or tolerated < 1 or [check["rule"] for check in failed] == ["too_few_rows"]
    json.dumps(report, allow_nan=False)


def test_rows_are_told_in_json() -> None:
    frame = pl.DataFrame(
        {"id": ['ä"'], "raw": [b"\xff"], "list": [["x"]], "none": [None], "inf": [float("inf")], "day": [NOW.date()]}
    )
    assert as_json(frame).to_list() == [
        '{"id":"ä\\"","raw":"/w==","list":["x"],"none":null,"inf":null,"day":"2026-01-01"}'
    ]
