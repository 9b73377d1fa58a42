from datetime import datetime

import polars as pl
import pytest

from recloop.data.tables import Tables
from recloop.errors import FailedExpectationError
from recloop.expectations.users import UsersConfig
from recloop.expectations.validation import ValidateConfig, validate
from tests.expectations.asking import check, first

LAX = ValidateConfig(users=UsersConfig(tolerated={"null_user_id": 0.3, "blank_user_id": 0.3, "duplicate_user_id": 0.3}))


def with_users(tables: Tables, users: pl.DataFrame) -> Tables:
    return Tables(interactions=tables.interactions, users=users)


def test_users_without_fault_pass(tables: Tables, now: datetime) -> None:
    validation = validate(tables, ValidateConfig(), previous=None, now=now)
    for rule in ("missing_column", "wrong_type", "null_user_id", "blank_user_id", "duplicate_user_id", "volume"):
        assert check(validation, rule, "users")["success"] is True


@pytest.mark.parametrize(("rule", "cell"), [("null_user_id", None), ("blank_user_id", ""), ("duplicate_user_id", "u4")])
def test_users_without_an_id_of_their_own(tables: Tables, now: datetime, rule: str, cell: str | None) -> None:
    assert tables.users is not None
    changed = with_users(tables, first(tables.users, 1, user_id=cell))
    lax = validate(changed, LAX, previous=None, now=now)
    assert lax.report["quarantined_by_reason"] == {f"users.{rule}": 1}
    assert lax.clean.users is not None
    assert lax.clean.users.height == 4
    with pytest.raises(FailedExpectationError, match=f"'user_id' of users breaks the rule '{rule}' .* 1 of 5 rows"):
        validate(changed, ValidateConfig(), previous=None, now=now).require()


def test_users_without_the_column_of_ids_are_critical(tables: Tables, now: datetime) -> None:
    with pytest.raises(FailedExpectationError, match=r"table users .*'missing_column' .*found \[.name.\]; map or"):
        validate(with_users(tables, pl.DataFrame({"name": ["x"]})), ValidateConfig(), previous=None, now=now).require()
