"""The checks as Evidently shows them, in one HTML page that needs nothing else.

Evidently is given what the checks compared and their thresholds, so that both say the same: a distribution goes to it
as rows of bin names in exact proportion to the shares (10,000 a window), a mean as one row a day or person. It looks at
distances and means only; that people, not events, are the units is in the thresholds.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recloop.data.tables import write_json
from recloop.drift.comparison import Comparison, Numbers, Shares
from recloop.drift.detect import Check, Drift

_ROWS = 10_000

_TOO_LITTLE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Drift: insufficient</title>
<h1>Drift: insufficient</h1>
<p>One of the windows holds too little for a verdict: reference {reference} events, current {current} events.</p>
</html>
"""


def write(drift: Drift, html: Path, json: Path) -> None:
    """Write Evidently's page to `html` and its results, with numbers to six decimals, to `json`."""
    html.parent.mkdir(parents=True, exist_ok=True)
    if not drift.checks:
        html.write_text(
            _TOO_LITTLE.format(reference=drift.reference["rows"], current=drift.current["rows"]), encoding="utf-8"
        )
        write_json({"metrics": [], "tests": []}, json)
        return
    snapshot = _run(drift.checks)
    snapshot.save_html(str(html))
    write_json(_rounded(snapshot.dict()), json)


def _run(checks: list[Check]) -> Any:
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MeanValue, ValueDrift
    from evidently.tests import gte, lte

    metrics: list[Any] = []
    reference: dict[str, pd.Series] = {}
    current: dict[str, pd.Series] = {}
    categorical: list[str] = []
    numerical: list[str] = []
    for check in checks:
        shown = check.comparison.shown
        if isinstance(shown, Shares):
            categorical.append(check.name)
            reference[check.name] = _rows(shown.labels, shown.reference)
            current[check.name] = _rows(shown.labels, shown.current)
            bound = round(check.threshold, 6)
            metrics.append(ValueDrift(column=check.name, method="jensenshannon", threshold=bound))
        else:
            numerical.append(check.name)
            reference[check.name], current[check.name] = pd.Series(shown.reference), pd.Series(shown.current)
            low, high = _bounds(check.comparison, shown, check.threshold)
            tests = [gte(low)] if high is None else [gte(low), lte(high)]
            metrics.append(MeanValue(column=check.name, tests=tests))
    definition = DataDefinition(categorical_columns=categorical, numerical_columns=numerical)
    newest, usual = (
        Dataset.from_pandas(pd.DataFrame(part), data_definition=definition) for part in (current, reference)
    )
    return Report(metrics, include_tests=True).run(newest, usual)


def _rounded(value: Any) -> Any:
    """Sums over sets of names differ in the last digits from process to process."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(float(value), 6) if isinstance(value, (float, np.floating)) else value


def _rows(labels: list[str], shares: NDArray[np.float64]) -> pd.Series:
    """`_ROWS` labels in proportion to `shares`; what rounding leaves goes to the largest remainders."""
    exact = shares * _ROWS
    counts = np.floor(exact).astype(np.int64)
    left = _ROWS - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return pd.Series(np.repeat(np.array(labels, dtype=object), counts))


def _bounds(comparison: Comparison, shown: Numbers, threshold: float) -> tuple[float, float | None]:
    """The least and the largest mean that are no drift; any is small enough where only a loss counts."""
    mean = float(shown.reference.mean())
    if comparison.statistic == "loss":
        return round(mean * (1 - threshold), 6), None
    return round(mean * float(np.exp(-threshold)), 6), round(mean * float(np.exp(threshold)), 6)
