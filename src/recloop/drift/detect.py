"""All checks of two windows, and one verdict."""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import polars as pl

from recloop.columns import TIME, USER
from recloop.data.vocabulary import Vocabulary
from recloop.drift.comparison import Comparison
from recloop.drift.config import DriftConfig
from recloop.drift.held_out import HeldOut
from recloop.drift.inputs import Inputs
from recloop.drift.windows import Windows
from recloop.models.base import Model

Verdict = Literal["stable", "drift", "insufficient"]

_NOT_CHECKS = frozenset(
    {"answers", "bins", "comparison", "config", "detect", "held_out", "inputs", "losses", "report", "windows"}
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A comparison and what it says.

    Attributes:
        name: of the module that made it.
        comparison: what was compared.
        threshold: the largest value that is no drift.
    """

    name: str
    comparison: Comparison
    threshold: float

    @property
    def drifted(self) -> bool:
        """Whether the value is above the threshold."""
        return self.comparison.value > self.threshold


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What the checks say together.

    Attributes:
        verdict: ``drift`` if any check drifted, ``stable`` if none did, ``insufficient`` if there was too
            little to look at.
        reference: first and last time and number of events of the reference window.
        current: the same of the current window.
        checks: by name; empty if insufficient.
    """

    verdict: Verdict
    reference: dict[str, Any]
    current: dict[str, Any]
    checks: list[Check]

    def record(self) -> dict[str, Any]:
        """All of it as JSON values, with numbers to six decimals."""
        return {
            "verdict": self.verdict,
            "reference": self.reference,
            "current": self.current,
            "checks": [
                {
                    "name": check.name,
                    "column": check.comparison.column,
                    "statistic": check.comparison.statistic,
                    "value": round(check.comparison.value, 6),
                    "threshold": round(check.threshold, 6),
                    "n_reference": check.comparison.n_reference,
                    "n_current": check.comparison.n_current,
                    "drifted": check.drifted,
                }
                for check in self.checks
            ],
        }


@cache
def names() -> tuple[str, ...]:
    """The names of all checks, sorted; each is a module of this folder with a function `measure`."""
    modules = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return tuple(sorted(name for name in modules if name not in _NOT_CHECKS))


def detect(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    config: DriftConfig,
    model: tuple[Model, Vocabulary] | None = None,
    held_out: HeldOut | None = None,
) -> Drift:
    """Compare two windows of canonical interactions.

    With m checks that have something to compare, each is given the m-th part of `config.false_alarms`, so that all
    together raise a false alarm no more often than that.

    Args:
        reference: what the champion was trained on.
        current: the newest events.
        config: what counts as drift.
        model: the champion and its catalogue, if any.
        held_out: what the champion has not learned from; without it nobody asks whether it foretells that.
    """
    windows = [_summary(frame) for frame in (reference, current)]
    if not all(_enough(frame, config) for frame in (reference, current)):
        return Drift(verdict="insufficient", reference=windows[0], current=windows[1], checks=[])
    inputs = Inputs(windows=Windows.of(reference, current), config=config, model=model, held_out=held_out)
    measured = {name: importlib.import_module(f"{__package__}.{name}").measure(inputs) for name in names()}
    comparisons: dict[str, Comparison] = {name: found for name, found in measured.items() if found is not None}
    alarm = config.false_alarms / max(1, len(comparisons))
    checks = [
        Check(name=name, comparison=comparison, threshold=comparison.threshold(alarm))
        for name, comparison in comparisons.items()
    ]
    verdict: Verdict = "drift" if any(check.drifted for check in checks) else "stable"
    return Drift(verdict=verdict, reference=windows[0], current=windows[1], checks=checks)


def _enough(frame: pl.DataFrame, config: DriftConfig) -> bool:
    return frame.height >= config.min_events and frame[USER].n_unique() >= config.min_users


def _summary(frame: pl.DataFrame) -> dict[str, Any]:
    first, last = frame.select(
        pl.col(TIME).min().dt.to_string("iso:strict").alias("from"), pl.col(TIME).max().dt.to_string("iso:strict")
    ).row(0)
    return {"from": first, "to": last, "rows": frame.height}
