"""What must hold for the table of users."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from recloop.columns import USER
from recloop.config import Config
from recloop.expectations.ids import key_rules
from recloop.expectations.rule import Rule, Severity
from recloop.expectations.schema import schema_rules

RowRule = Literal["null_user_id", "blank_user_id", "duplicate_user_id"]


class UsersConfig(Config):
    """What users may look like.

    Attributes:
        severity: what a broken rule is, where it is not the rule's own severity.
        tolerated: for a rule about rows, the share that may break it, where it is not `ValidateConfig.tolerated_share`.
    """

    severity: dict[RowRule, Severity] = Field(default={})
    tolerated: dict[RowRule, Annotated[float, Field(ge=0, le=1)]] = Field(default={})


def rules(frame: pl.DataFrame) -> list[Rule]:
    """The rules for a table of users; only those of the schema where that does not hold."""
    schema = schema_rules(frame, {USER: pl.String()})
    return [*schema, *key_rules(USER)] if all(rule.holds for rule in schema) else schema
