from datetime import datetime

import pytest

from recloop.config import parse
from recloop.data.tables import Tables
from recloop.errors import ConfigError, FailedExpectationError
from recloop.expectations.validation import ValidateConfig, validate
from recloop.expectations.volume import VolumeConfig, volume_rule
from tests.expectations.asking import check


@pytest.mark.parametrize(("previous", "success"), [(81, False), (80, True), (40, True), (4, True), (3, False)])
def test_rows_against_the_previous_version(tables: Tables, now: datetime, previous: int, *, success: bool) -> None:
    validation = validate(tables, ValidateConfig(), previous={"interactions": previous}, now=now)
    one = check(validation, "volume")
    assert (one["success"], one["severity"], one["failing"]) == (success, "warning", int(not success))
    assert one["observed"] == {"rows": 40, "previous": previous}
    validation.require()


def test_without_a_previous_version_it_passes_and_says_so(tables: Tables, now: datetime) -> None:
    one = check(validate(tables, ValidateConfig(), previous=None, now=now), "volume")
    assert (one["success"], one["observed"]) == (True, "no previous version")


def test_a_table_that_the_previous_version_had_not_passes(tables: Tables, now: datetime) -> None:
    one = check(validate(tables, ValidateConfig(), previous={"interactions": 40}, now=now), "volume", "items")
    assert (one["success"], one["observed"]) == (True, "no previous version")


def test_a_breach_can_be_made_critical(tables: Tables, now: datetime) -> None:
    config = ValidateConfig(volume=VolumeConfig(severity="critical"))
    with pytest.raises(FailedExpectationError) as raised:
        validate(tables, config, previous={"items": 100}, now=now).require()
    assert str(raised.value) == (
        "table items breaks the rule 'volume' (the table has 50 to 1000 rows, as the previous version had 100), "
        'found {"rows": 8, "previous": 100}; look for a truncated or repeated export, or move validate.volume.'
    )


def test_bounds_never_cross_even_where_rounding_pulls_them_apart() -> None:
    rule = volume_rule(1, 1, VolumeConfig(min_factor=1.1, max_factor=1.2))
    assert rule.arguments == {"min_value": 2, "max_value": 2}


def test_factors_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_factor must not be above max_factor"):
        parse(ValidateConfig, {"volume": {"min_factor": 3, "max_factor": 2}}, "params.yaml: validate")
