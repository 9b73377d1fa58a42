from typing import Any

import numpy as np
import pytest

from recloop.errors import DataError
from recloop.evaluation.off_policy import mean_by_action

REWARDS = np.array([1.0, 0.0, 4.0, 2.0])
ACTIONS = np.array([0, 1, 0, 2])
TARGETS = np.tile([0.5, 0.25, 0.25], (4, 1))


def test_each_row_is_predicted_from_the_other_parts() -> None:
    # As many parts as rows: each from the other three, with one row's worth of their mean.
    found = mean_by_action(REWARDS, ACTIONS, TARGETS, folds=4, strength=1, seed=0)
    assert found.shown == pytest.approx([(4 + 2) / 2, 7 / 3, (1 + 1) / 2, 5 / 3])
    # Row 0: mean 2; actions expect (4 + 2) / 2, (0 + 2) / 2, (2 + 2) / 2.
    assert found.expected[0] == pytest.approx(0.5 * 3 + 0.25 * 1 + 0.25 * 2)
    # Row 3: mean 5/3; (1 + 4 + 5/3) / 3, (0 + 5/3) / 2, 5/3.
    assert found.expected[3] == pytest.approx(0.5 * 20 / 9 + 0.25 * 5 / 6 + 0.25 * 5 / 3)


@pytest.mark.parametrize("row", range(4))
def test_no_row_informs_its_own_prediction(row: int) -> None:
    changed = REWARDS.copy()
    changed[row] = 99
    one, other = (mean_by_action(rewards, ACTIONS, TARGETS, folds=2, seed=3) for rewards in (REWARDS, changed))
    assert one.shown[row] == other.shown[row]
    assert one.expected[row] == other.expected[row]
    assert (one.shown != other.shown).any()


def test_nor_do_other_rows_of_its_person() -> None:
    people = np.array(["u", "v", "u", "v"])
    changed = REWARDS + np.where(people == "u", 10, 0)
    one, other = (
        mean_by_action(rewards, ACTIONS, TARGETS, clusters_N=people, folds=2, seed=0) for rewards in (REWARDS, changed)
    )
    assert (one.shown[people == "u"] == other.shown[people == "u"]).all()
    assert (one.shown[people == "v"] != other.shown[people == "v"]).all()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"actions_N": np.array([0, 1, 3, 2])},
            r"actions\[2\] is 3, but actions are numbered from 0 to 2; correct the number",
        ),
        ({"actions_N": np.array([0, -1, 0, 2])}, r"actions\[1\] is -1, but"),
        ({"targets_NA": TARGETS[:2]}, r"targets has the shape \(2, 3\) and must have \(4, 3\)"),
        (
            {"targets_NA": TARGETS * 3},
            r"targets\[0, 0\] is 1\.5, but a probability lies in \[0, 1\]; correct the target",
        ),
        ({"folds": 5}, r"folds is 5, which must lie between 2 and the 4 units of the log; correct it\."),
        ({"folds": 1}, r"folds is 1, which"),
        ({"clusters_N": np.array([1, 1, 2])}, r"clusters has the shape \(3,\)"),
        ({"rewards_N": REWARDS[:0]}, r"The log has no rows"),
    ],
)
def test_what_cannot_be_fitted(changed: dict[str, Any], sentence: str) -> None:
    given = {"rewards_N": REWARDS, "actions_N": ACTIONS, "targets_NA": TARGETS, "folds": 2, "seed": 0}
    with pytest.raises(DataError, match=sentence):
        mean_by_action(**(given | changed))
