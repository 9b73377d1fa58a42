from typing import Any

import numpy as np
import pytest

from recloop.errors import DataError
from recloop.evaluation.off_policy import Log, SlateLog
from recloop.evaluation.off_policy.logs import units

GOOD = {"rewards": [1.0, 0.0, 2.0], "propensities": [0.5, 0.25, 1.0], "targets": [0.25, 0.5, 0.0]}
SLATES = {"rewards": [[1.0, 0.0, 0.0]] * 2, "propensities": [[0.5, 0.25, 1.0]] * 2, "targets": [[0.25, 0.5, 0.0]] * 2}


def arrays(given: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {name: np.array(values) for name, values in (given | changed).items()}


def test_weights_are_target_over_propensity() -> None:
    assert Log(**arrays(GOOD)).weights.tolist() == [0.5, 2, 0]
    assert SlateLog(**arrays(SLATES)).weights.tolist() == [[0.5, 2, 0]] * 2


def test_weights_of_single_precision_are_double() -> None:
    log = Log(**{name: np.array(values, dtype=np.float32) for name, values in GOOD.items()})
    assert log.weights.dtype == np.float64


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"rewards": []},
            r"The log has no rows, and an estimate needs some; log requests with their propensities first\.",
        ),
        ({"rewards": [[1.0]]}, r"rewards has the shape \(1, 1\), which must be \(N\); give one value for each\."),
        ({"rewards": [1.0, 0.0, np.nan]}, r"rewards\[2\] is nan, but rewards are finite numbers; drop or correct"),
        ({"propensities": [0.5, 0.5]}, r"propensities has the shape \(2,\) and must have \(3,\), as the other arrays"),
        (
            {"propensities": [0.5, 0.0, 1.0]},
            r"propensities\[1\] is 0\.0, but the log took that action with a probability in",
        ),
        ({"propensities": [0.5, np.nan, 1.0]}, r"propensities\[1\] is nan, but .* leave out rows without one\."),
        ({"propensities": [0.5, 0.5, 1.5]}, r"propensities\[2\] is 1\.5, but"),
        (
            {"targets": [0.5, 0.5, 1.5]},
            r"targets\[2\] is 1\.5, but a probability lies in \[0, 1\]; compute it from the target",
        ),
        ({"targets": [-0.5, 0.5, 1.0]}, r"targets\[0\] is -0\.5, but"),
        ({"missing": [0.5, 0.5, np.nan]}, r"missing\[2\] is nan, but a probability lies in \[0, 1\]"),
        ({"missing": [0.5]}, r"missing has the shape \(1,\) and must have \(3,\)"),
        ({"clusters": ["a", "b"]}, r"clusters has the shape \(2,\) and must have \(3,\); give one id a row\."),
    ],
)
def test_what_a_log_cannot_be(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Log(**arrays(GOOD, **changed))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"rewards": [1.0]}, r"rewards has the shape \(1,\), which must be \(N, K\)"),
        ({"propensities": [[0.5, 0.0, 1.0], [0.5, 0.5, 1.0]]}, r"propensities\[0, 1\] is 0\.0, but"),
        ({"clusters": [[1, 2, 3]]}, r"clusters has the shape \(1, 3\) and must have \(2,\)"),
    ],
)
def test_what_a_log_of_slates_cannot_be(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        SlateLog(**arrays(SLATES, **changed))


def test_units_are_people_where_they_are_known() -> None:
    assert units(None, 3).tolist() == [0, 1, 2]
    assert units(np.array(["v", "u", "v"]), 3).tolist() == [1, 0, 1]
