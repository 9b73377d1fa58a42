from datetime import datetime

import polars as pl
import pytest

from recloop.data.tables import Tables
from recloop.errors import FailedExpectationError
from recloop.expectations.items import ItemsConfig
from recloop.expectations.validation import ValidateConfig, validate
from tests.expectations.asking import check, first


def with_items(tables: Tables, items: pl.DataFrame) -> Tables:
    return Tables(interactions=tables.interactions, items=items)


def test_the_second_row_of_an_item_goes_to_quarantine(tables: Tables, now: datetime) -> None:
    assert tables.items is not None
    items = pl.concat([tables.items, tables.items[3:4].with_columns(title=pl.lit("Again"))])
    config = ValidateConfig(items=ItemsConfig(tolerated={"duplicate_item_id": 0.2}))
    validation = validate(with_items(tables, items), config, previous=None, now=now)
    assert check(validation, "duplicate_item_id", "items")["failing"] == 1
    assert validation.quarantine.to_dicts() == [
        {
            "table": "items",
            "reason": "duplicate_item_id",
            "row": '{"item_id":"i3","title":"Again","categories":["b"]}',
        }
    ]
    assert validation.clean.items is not None
    assert validation.clean.items.equals(tables.items)


@pytest.mark.parametrize(("rule", "cell"), [("null_item_id", None), ("blank_item_id", "")])
def test_items_without_an_id_above_the_tolerated_share_are_critical(
    tables: Tables, now: datetime, rule: str, cell: str | None
) -> None:
    assert tables.items is not None
    changed = with_items(tables, first(tables.items, 1, item_id=cell))
    with pytest.raises(FailedExpectationError, match=f"'item_id' of items breaks the rule '{rule}' .* 1 of 8 rows"):
        validate(changed, ValidateConfig(), previous=None, now=now).require()


def test_items_without_title_or_categories_are_reported_and_stay(tables: Tables, now: datetime) -> None:
    assert tables.items is not None
    items = first(tables.items, 2, title=None)
    items = items.with_columns(
        title=pl.when(pl.col("item_id") == "i7").then(pl.lit("")).otherwise("title"),
        categories=pl.when(pl.col("item_id") == "i1").then(None).otherwise("categories"),
    )
    validation = validate(with_items(tables, items), ValidateConfig(), previous=None, now=now)
    for rule, failing in (("missing_title", 3), ("missing_categories", 1)):
        one = check(validation, rule, "items")
        assert (one["severity"], one["success"], one["failing"]) == ("warning", False, failing)
    assert validation.clean.items is not None
    assert validation.clean.items.height == 8
    validation.require()


def test_items_without_the_column_of_ids_are_critical(tables: Tables, now: datetime) -> None:
    items = pl.DataFrame({"id": ["i0"]})
    with pytest.raises(FailedExpectationError, match=r"table items .*'missing_column' .* has the columns item_id"):
        validate(with_items(tables, items), ValidateConfig(), previous=None, now=now).require()


@pytest.mark.parametrize("rows", [0, 8])
def test_categories_as_one_text_are_critical(tables: Tables, now: datetime, rows: int) -> None:
    assert tables.items is not None
    items = tables.items.head(rows).with_columns(categories=pl.lit("a|b"))
    sentence = (
        r"column 'categories' of items breaks the rule 'wrong_type' .categories is a list of text., found .String"
    )
    with pytest.raises(FailedExpectationError, match=sentence):
        validate(with_items(tables, items), ValidateConfig(), previous=None, now=now).require()


def test_ids_that_are_numbers_are_critical(tables: Tables, now: datetime) -> None:
    items = pl.DataFrame({"item_id": [1, 2]})
    with pytest.raises(FailedExpectationError, match=r"'item_id' of items .*item_id is text., found .Int64"):
        validate(with_items(tables, items), ValidateConfig(), previous=None, now=now).require()
