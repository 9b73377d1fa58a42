from datetime import datetime

import polars as pl
import pytest

from recloop.data.tables import Tables
from recloop.errors import FailedExpectationError
from recloop.expectations.knowledge import KnowledgeConfig
from recloop.expectations.validation import ValidateConfig, validate
from tests.expectations.asking import check, first


def with_knowledge(tables: Tables, knowledge: pl.DataFrame) -> Tables:
    return Tables(interactions=tables.interactions, knowledge=knowledge)


def strangers(knowledge: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The first triples with heads that are no items."""
    strange = pl.int_range(pl.len()) < rows
    return knowledge.with_columns(head=pl.when(strange).then(pl.format("x{}", "head")).otherwise("head"))


@pytest.mark.parametrize("column", ["head", "relation", "tail"])
@pytest.mark.parametrize(("kind", "cell"), [("null", None), ("blank", "")])
def test_incomplete_triples(tables: Tables, now: datetime, column: str, kind: str, cell: str | None) -> None:
    assert tables.knowledge is not None
    changed = with_knowledge(tables, first(tables.knowledge, 1, **{column: cell}))
    rule = f"{kind}_{column}"
    lax = validate(changed, ValidateConfig(tolerated_share=0.125), previous=None, now=now)
    assert lax.report["quarantined_by_reason"] == {f"knowledge.{rule}": 1}
    assert lax.clean.knowledge is not None
    assert lax.clean.knowledge.equals(tables.knowledge[1:])
    with pytest.raises(FailedExpectationError, match=f"column '{column}' of knowledge breaks the rule '{rule}'"):
        validate(changed, ValidateConfig(), previous=None, now=now).require()


def test_of_equal_triples_the_first_stays(tables: Tables, now: datetime) -> None:
    assert tables.knowledge is not None
    knowledge = pl.concat([tables.knowledge, tables.knowledge[:2]])
    config = ValidateConfig(knowledge=KnowledgeConfig(tolerated={"duplicate_triple": 0.2}))
    validation = validate(with_knowledge(tables, knowledge), config, previous=None, now=now)
    assert check(validation, "duplicate_triple", "knowledge")["failing"] == 2
    assert validation.clean.knowledge is not None
    assert validation.clean.knowledge.equals(tables.knowledge)


def test_triples_between_other_things_are_ordinary(tables: Tables, now: datetime) -> None:
    assert tables.knowledge is not None
    validation = validate(
        with_knowledge(tables, strangers(tables.knowledge, 7)), ValidateConfig(), previous=None, now=now
    )
    one = check(validation, "names_no_item", "knowledge")
    assert (one["success"], one["failing"], one["observed"]) == (True, 7, 0.875)


def test_a_graph_that_names_no_item_at_all_is_reported(tables: Tables, now: datetime) -> None:
    assert tables.knowledge is not None
    validation = validate(
        with_knowledge(tables, strangers(tables.knowledge, 8)), ValidateConfig(), previous=None, now=now
    )
    one = check(validation, "names_no_item", "knowledge")
    assert (one["severity"], one["success"], one["failing"]) == ("warning", False, 8)
    assert "translate the graph's names of items" in one["remedy"]
    assert validation.clean.knowledge is not None
    assert validation.clean.knowledge.height == 8


@pytest.mark.parametrize("tail", ["unseen", "item:unseen", "item:i0"])
def test_items_may_be_prefixed_and_need_no_interactions(tables: Tables, now: datetime, tail: str) -> None:
    knowledge = pl.DataFrame({"head": ["x"], "relation": ["made"], "tail": [tail]})
    items = pl.DataFrame({"item_id": ["unseen"]})
    changed = Tables(interactions=tables.interactions, items=items, knowledge=knowledge)
    validation = validate(changed, ValidateConfig(), previous=None, now=now)
    assert check(validation, "names_no_item", "knowledge")["failing"] == 0


def test_triples_without_a_column_are_critical(tables: Tables, now: datetime) -> None:
    assert tables.knowledge is not None
    changed = with_knowledge(tables, tables.knowledge.drop("tail"))
    with pytest.raises(FailedExpectationError, match=r"table knowledge .*'missing_column' .*head, relation, tail"):
        validate(changed, ValidateConfig(), previous=None, now=now).require()
