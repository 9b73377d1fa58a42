"""The number of rows against the previous version of the data."""

import math

from pydantic import Field, model_validator

from recloop.config import Config
from recloop.expectations.rule import Rule, Severity


class VolumeConfig(Config):
    """How far the number of rows of a table may move from one version of the data to the next.

    Attributes:
        min_factor: a table with fewer than this many times its previous rows has lost data.
        max_factor: a table with more than this many times its previous rows has gained too much.
        severity: what a breach is.
    """

    min_factor: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    max_factor: float = Field(default=10.0, ge=1, allow_inf_nan=False)
    severity: Severity = "warning"

    @model_validator(mode="after")
    def _ordered(self) -> "VolumeConfig":
        if self.min_factor > self.max_factor:
            raise ValueError("min_factor must not be above max_factor")
        return self


def volume_rule(rows: int, previous: int | None, config: VolumeConfig) -> Rule:
    """`rows` lies between ``min_factor`` and ``max_factor`` times `previous`; without a previous version it passes."""
    if previous is None:
        bounds = {"min_value": 0}
        says, observed = "there is no previous version to compare with", "no previous version"
    else:
        low, high = math.ceil(previous * config.min_factor), math.floor(previous * config.max_factor)
        bounds = {"min_value": low, "max_value": max(low, high)}
        says = f"the table has {low} to {max(low, high)} rows, as the previous version had {previous}"
        observed = {"rows": rows, "previous": previous}
    return Rule(
        name="volume",
        says=says,
        remedy="look for a truncated or repeated export, or move validate.volume",
        expectation="ExpectTableRowCountToBeBetween",
        arguments=bounds,
        severity=config.severity,
        observed=observed,
    )
