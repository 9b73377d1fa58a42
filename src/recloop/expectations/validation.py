"""The validation of one version of the data: every rule asked, bad rows kept aside, a report for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from recloop.columns import TIME
from recloop.config import Config
from recloop.data.tables import TIMESTAMP, Tables
from recloop.errors import FailedExpectationError
from recloop.expectations import interactions, items, knowledge, users
from recloop.expectations.interactions import InteractionsConfig
from recloop.expectations.items import ItemsConfig
from recloop.expectations.knowledge import KnowledgeConfig
from recloop.expectations.quarantine import SCHEMA, as_json, broken_rows, part
from recloop.expectations.rule import Outcome, Rule, Severity
from recloop.expectations.suite import EXAMPLES, Suite, judge
from recloop.expectations.users import UsersConfig
from recloop.expectations.volume import VolumeConfig, volume_rule


class ValidateConfig(Config):
    """The section ``validate`` of the parameters.

    Attributes:
        tolerated_share: the share of rows that may be bad in one way and go to quarantine; more is a failure.
        volume: rows against the previous version of the data.
        interactions: what interactions may look like.
        items: what items may look like.
        users: what users may look like.
        knowledge: what a knowledge graph may look like.
    """

    tolerated_share: float = Field(default=0.05, ge=0, le=1)
    volume: VolumeConfig = VolumeConfig()
    interactions: InteractionsConfig = InteractionsConfig()
    items: ItemsConfig = ItemsConfig()
    users: UsersConfig = UsersConfig()
    knowledge: KnowledgeConfig = KnowledgeConfig()


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What came out.

    Attributes:
        report: ``success``, ``rows`` by table, ``quarantined``, ``quarantined_by_reason`` (``table.rule``: rows) and
            ``checks``, each with `table`, `rule`, `column`, `severity`, `success`, `observed`, `failing`, up to three
            `examples`, and in words what it `says` and its `remedy`. All of it is plain JSON.
        clean: the tables without the rows of the quarantine.
        quarantine: the bad rows: `table`, `reason` (the rule's name) and `row` (JSON).
    """

    report: dict[str, Any]
    clean: Tables
    quarantine: pl.DataFrame

    def require(self) -> None:
        """Raise `FailedExpectationError` about the first critical rule that fails, if one does."""
        failed = [check for check in self.report["checks"] if not check["success"] and check["severity"] == "critical"]
        if failed:
            others = [f"{check['table']}.{check['rule']}" for check in failed[1:]]
            raise FailedExpectationError(_sentence(failed[0], self.report["rows"], others))


def validate(
    tables: Tables,
    config: ValidateConfig,
    *,
    previous: Mapping[str, int] | None,
    now: datetime,
    docs_folder: Path | None = None,
) -> Validation:
    """Ask every rule about `tables` and part good rows from bad ones; nothing is raised for bad data.

    Args:
        tables: one version of the data.
        config: thresholds.
        previous: rows by table of the version before, if there is one.
        now: the present, with a time zone; it decides about events in the future and the age of the newest event.
        docs_folder: where Great Expectations builds its Data Docs; nothing builds none.
    """
    frames = tables.present()
    rules = {name: _rules(name, tables, config, previous, now) for name in frames}
    suites = {name: Suite(frame=frame, rules=rules[name]) for name, frame in frames.items()}
    outcomes = judge(suites, docs_folder, _newest(tables.interactions))
    checks: list[dict[str, Any]] = []
    clean: dict[str, pl.DataFrame] = {}
    aside: list[pl.DataFrame] = [pl.DataFrame(schema=SCHEMA)]
    for name, frame in frames.items():
        broken = broken_rows(frame, rules[name])
        checks += _checks(name, frame, rules[name], broken, outcomes[name])
        clean[name], bad = part(name, frame, rules[name], broken)
        aside.append(bad)
    quarantine = pl.concat(aside)
    reasons = quarantine.group_by("table", "reason").len().sort("table", "reason")
    report = {
        "success": all(check["success"] or check["severity"] == "warning" for check in checks),
        "rows": {name: frame.height for name, frame in frames.items()},
        "quarantined": quarantine.height,
        "quarantined_by_reason": {f"{table}.{reason}": number for table, reason, number in reasons.iter_rows()},
        "checks": checks,
    }
    return Validation(report=report, clean=Tables(**clean), quarantine=quarantine)


def _rules(
    table: str, tables: Tables, config: ValidateConfig, previous: Mapping[str, int] | None, now: datetime
) -> list[Rule]:
    """The rules for one table, with severities and tolerated shares as configured."""
    frame = tables.present()[table]
    match table:
        case "interactions":
            section, rules = config.interactions, interactions.rules(tables, config.interactions, now)
        case "items":
            section, rules = config.items, items.rules(frame)
        case "users":
            section, rules = config.users, users.rules(frame)
        case _:
            section, rules = config.knowledge, knowledge.rules(tables, frame)
    given = section.model_dump()
    severity: dict[str, Severity] = given["severity"]
    tolerated: dict[str, float] = given["tolerated"]
    configured = [
        replace(
            rule,
            severity=severity.get(rule.name, rule.severity),
            tolerated=tolerated.get(rule.name, config.tolerated_share if rule.tolerated is None else rule.tolerated),
        )
        for rule in rules
    ]
    return [*configured, volume_rule(frame.height, (previous or {}).get(table), config.volume)]


def _checks(
    table: str,
    frame: pl.DataFrame,
    rules: Sequence[Rule],
    broken: Sequence[pl.Series | None],
    outcomes: Sequence[Outcome],
) -> list[dict[str, Any]]:
    checks: list[dict[str, Any]] = []
    for rule, mask, outcome in zip(rules, broken, outcomes, strict=True):
        assert mask is None or mask.sum() == outcome.failing, f"{table}.{rule.name}: two counts of bad rows differ"
        removed = outcome.tolerable and not outcome.flawless and rule.quarantine
        bad = frame.filter(mask).head(EXAMPLES) if mask is not None and outcome.failing else frame.clear()
        checks.append(
            {
                "table": table,
                "rule": rule.name,
                "column": rule.column,
                "severity": "warning" if removed else rule.severity,
                "success": outcome.tolerable and not removed,
                "observed": outcome.observed,
                "failing": outcome.failing,
                "examples": [json.loads(row) for row in as_json(bad)] if bad.height else [],
                "says": rule.says,
                "remedy": rule.remedy,
                "tolerated": rule.tolerated,
            }
        )
    return checks


def _newest(frame: pl.DataFrame) -> datetime:
    newest: Any = frame[TIME].max() if frame.schema.get(TIME) == TIMESTAMP else None
    return newest or datetime(1970, 1, 1, tzinfo=UTC)


def _sentence(check: Mapping[str, Any], rows: Mapping[str, int], others: Sequence[str]) -> str:
    where = f"column '{check['column']}' of {check['table']}" if check["column"] else f"table {check['table']}"
    if check["examples"]:
        share = f", more than the tolerated share {check['tolerated']:g}" if check["tolerated"] else ""
        examples = ", ".join(json.dumps(row, ensure_ascii=False) for row in check["examples"])
        found = f" in {check['failing']} of {rows[check['table']]} rows{share}, for example {examples}"
    else:
        found = f", found {json.dumps(check['observed'], ensure_ascii=False)}"
    more = f"; further critical rules fail: {', '.join(others)}" if others else ""
    return f"{where} breaks the rule '{check['rule']}' ({check['says']}){found}; {check['remedy']}{more}."
