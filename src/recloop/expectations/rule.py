"""What an expectation about a table is, before and after Great Expectations has judged it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """One expectation about one table.

    A rule about rows has `bad`; a rule about the whole table has none. Of a rule about rows, a share of at most
    `tolerated` may break it; what lies above fails with the rule's `severity`.

    Attributes:
        name: what is wrong where the rule is broken, for example ``null_user_id``.
        column: the column that it is about, or nothing.
        says: what must hold, as a clause.
        remedy: what a person can do where it does not hold, as a clause.
        expectation: the class of Great Expectations that judges it.
        arguments: that class's arguments.
        severity: ``critical`` stops the pipeline, ``warning`` is reported.
        bad: true for the rows that break the rule; null counts as false.
        derived: a boolean column, named in `arguments`, that Great Expectations gets besides the table's own columns.
        quarantine: whether bad rows are taken out of the table.
        tolerated: the share of bad rows, of those that the rule looks at, above which it fails; nothing means that the
            general share of the configuration decides.
        holds: a verdict that stands beside the one of Great Expectations; both must be true.
        observed: what was found, where the answer of Great Expectations does not say it.
    """

    name: str
    column: str | None = None
    says: str
    remedy: str
    expectation: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    severity: Severity = "critical"
    bad: pl.Expr | None = None
    derived: pl.Expr | None = None
    quarantine: bool = False
    tolerated: float | None = 0.0
    holds: bool = True
    observed: Any = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What Great Expectations answered to a `Rule`.

    Attributes:
        flawless: nothing at all breaks the rule.
        tolerable: at most the tolerated share breaks it.
        failing: rows that break it; of a rule about the whole table, 1 where it fails.
        observed: the share of failing rows in those that the rule looks at, or what was found in the table.
    """

    flawless: bool
    tolerable: bool
    failing: int
    observed: Any


def derived_rule(*, name: str, bad: pl.Expr, **given: Any) -> Rule:
    """A rule about rows for which Great Expectations has no class: it gets `bad` as a column that must be all false."""
    arguments = {"column": name, "value_set": [False]}
    return Rule(
        name=name, bad=bad, derived=bad, expectation="ExpectColumnValuesToBeInSet", arguments=arguments, **given
    )
