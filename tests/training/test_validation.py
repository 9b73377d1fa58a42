import math
from dataclasses import replace

import numpy as np
import pytest

from recloop.data.vocabulary import UNKNOWN
from recloop.training.config import EarlyStopping
from recloop.training.validation import sample, validate
from tests.training.scripted import Scripted, ScriptedRatings, questions


def model() -> Scripted:
    scripted = Scripted([2])
    scripted.passes = 1
    return scripted


def test_examples_are_averaged_by_user_first() -> None:
    """The order of items is 1, 2, 0, 3, 4."""
    asked = questions([[], []], [1, 0, 4], users=[0, 0, 1])
    value = validate(model(), asked, EarlyStopping(metric="ndcg@3"))
    assert value == pytest.approx(((1 + 1 / 2) / 2 + 0) / 2)


def test_what_was_seen_is_left_out_unless_asked_for() -> None:
    asked = questions([[1]], [2])
    assert validate(model(), asked, EarlyStopping(metric="ndcg@3")) == 1
    assert validate(model(), asked, EarlyStopping(metric="ndcg@3", mask_seen=False)) == pytest.approx(1 / math.log2(3))


def test_a_metric_that_is_defined_for_nobody_is_zero() -> None:
    assert validate(model(), questions([[1, 2, 3, 4]], [0]), EarlyStopping(metric="auc")) == 0


def test_a_sample_is_evenly_spaced_and_keeps_the_order() -> None:
    asked = questions([[]], list(range(5)) * 2, users=[0] * 10)
    assert sample(asked, None) is asked
    assert sample(asked, 10) is asked
    np.testing.assert_array_equal(sample(asked, 4).targets, [0, 3, 1, 4])
    assert len(sample(asked, 1)) == 1


def test_a_model_of_ratings_is_judged_by_its_errors_averaged_over_users() -> None:
    """It predicts 4 for everything; the last rating is of an item that nobody knows."""
    scripted = ScriptedRatings([4])
    scripted.passes = 1
    asked = questions([[], [], []], [1, 2, 3, UNKNOWN], users=[0, 0, 1, 2])
    asked = replace(asked, values=np.array([5, 4, 1, 1], dtype=np.float32))
    rmse, mae = (math.sqrt(1 / 2) + 3) / 2, (1 / 2 + 3) / 2
    assert validate(scripted, asked, EarlyStopping()) == pytest.approx(rmse)
    assert validate(scripted, asked, EarlyStopping(rating_metric="mae")) == pytest.approx(mae)
    assert math.isnan(validate(scripted, asked.take(np.array([3])), EarlyStopping()))
