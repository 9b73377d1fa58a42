"""The border to Great Expectations: rules and frames go in, outcomes and Data Docs come out.

Great Expectations judges frames of pandas; each table is converted in turn, and only the columns that its rules name.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from recloop.expectations import data_docs
from recloop.expectations.rule import Outcome, Rule

EXAMPLES = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Suite:
    """A table and the rules for it."""

    frame: pl.DataFrame
    rules: Sequence[Rule]


def judge(suites: Mapping[str, Suite], docs_folder: Path | None, as_of: datetime) -> dict[str, list[Outcome]]:
    """Ask Great Expectations about every rule.

    Args:
        suites: what to judge, by the table's name.
        docs_folder: where Data Docs are built anew; nothing builds none.
        as_of: the time that Data Docs show, in place of the clock.

    Returns:
        for each table, one outcome a rule, in the order of the rules.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("recloop")
    run_id = RunIdentifier(run_name=f"until-{as_of:%Y-%m-%d}", run_time=as_of)
    outcomes: dict[str, list[Outcome]] = {}
    for table, suite in suites.items():
        expectations = [
            expectation for index, rule in enumerate(suite.rules) for expectation in _expectations(index, rule)
        ]
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(
                name=table,
                data=source.add_dataframe_asset(table).add_batch_definition_whole_dataframe(table),
                suite=context.suites.add(gx.ExpectationSuite(table, expectations=expectations)),
            )
        )
        answer = definition.run(
            batch_parameters={"dataframe": _columns(suite).to_pandas()},
            result_format={"result_format": "BASIC", "partial_unexpected_count": EXAMPLES},
            run_id=run_id,
        )
        outcomes[table] = _outcomes(suite.rules, answer.results)
    if docs_folder is not None:
        data_docs.build(context, docs_folder)
    return outcomes


def _expectations(index: int, rule: Rule) -> list[Any]:
    """One expectation; of a rule that tolerates bad rows and removes them, also one that warns of any such row."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    arguments = dict(rule.arguments)
    if condition := arguments.pop("row_condition", None):
        column, value = condition
        arguments["row_condition"] = Column(column) == value
    kind = getattr(gxe, rule.expectation)
    given = {"description": f"{rule.name}: {rule.says}"} | arguments
    if rule.bad is None:
        return [kind(**given, severity=rule.severity, meta={"rule": index, "part": "all"})]
    limit = f", but for a share of {rule.tolerated:g} of the rows at most" if rule.tolerated else ""
    judged = given | {"description": given["description"] + limit, "mostly": round(1 - (rule.tolerated or 0.0), 12)}
    found = [kind(**judged, severity=rule.severity, meta={"rule": index, "part": "limit"})]
    if rule.quarantine and rule.tolerated:
        found.insert(0, kind(**given, severity="warning", meta={"rule": index, "part": "any"}))
    return found


def _columns(suite: Suite) -> pl.DataFrame:
    """The columns that the rules name, and the derived ones."""
    derived = {rule.arguments["column"]: rule.derived for rule in suite.rules if rule.derived is not None}
    named = {name for rule in suite.rules for name in _named(rule.arguments)}
    plain = [name for name in suite.frame.columns if name in named and name not in derived]
    # a frame without columns would lose its number of rows
    return suite.frame.select(*(plain or suite.frame.columns[:1]), **derived)


def _named(arguments: Mapping[str, Any]) -> list[str]:
    condition = arguments.get("row_condition")
    return [
        *arguments.get("column_set", []),
        *([arguments["column"]] if "column" in arguments else []),
        *([condition[0]] if condition else []),
    ]


def _outcomes(rules: Sequence[Rule], answers: Sequence[Any]) -> list[Outcome]:
    found = {
        (answer.expectation_config.meta["rule"], answer.expectation_config.meta["part"]): answer for answer in answers
    }
    return [_outcome(rule, found[index, "all" if rule.bad is None else "limit"]) for index, rule in enumerate(rules)]


def _outcome(rule: Rule, answer: Any) -> Outcome:
    if rule.bad is None:
        success = bool(answer.success) and rule.holds
        observed = _plain(answer.result.get("observed_value")) if rule.observed is None else rule.observed
        return Outcome(flawless=success, tolerable=success, failing=int(not success), observed=observed)
    assert "unexpected_count" in answer.result, f"Great Expectations failed on {rule.name}: {answer.exception_info}"
    failing, rows = int(answer.result["unexpected_count"]), int(answer.result["element_count"])
    asked = rows - int(answer.result.get("missing_count") or 0)
    share = round(failing / asked, 6) if asked else 0.0
    return Outcome(flawless=failing == 0, tolerable=bool(answer.success), failing=failing, observed=share)


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python; anything else as it is."""
    return value.item() if hasattr(value, "item") else value
