import numpy as np
import polars as pl
import pytest

from recloop.drift.bins import binned


def test_few_numbers_are_a_bin_each():
    frame = pl.DataFrame({"window": [0, 0, 1, 1], "x": [2.5, 1.0, 4.0, 2.5]})
    found, labels = binned(frame, "x")
    assert labels == ["1", "2.5", "4"]
    assert found["bin"].to_list() == [1, 0, 2, 1]


def test_many_numbers_are_cut_at_deciles_in_which_both_windows_weigh_the_same():
    reference = pl.DataFrame({"window": 0, "x": [float(number) for number in range(1000)]})
    current = pl.DataFrame({"window": 1, "x": [float(1000 + number) for number in range(10)]})
    found, labels = binned(pl.concat([reference, current]), "x")
    assert len(labels) == 10
    assert labels[0] == "to 199"
    assert labels[-1] == "1007 to"
    counts = found.group_by("window", "bin").len().sort("window", "bin")
    assert counts.filter(window=0)["bin"].to_list() == [0, 1, 2, 3, 4, 5]
    assert counts.filter(window=0)["len"].to_list() == [199, 200, 200, 200, 200, 1]
    assert counts.filter(window=1)["len"].sum() == 10


def test_a_number_that_fills_several_deciles_is_cut_once():
    frame = pl.DataFrame({"window": [0, 1] * 60, "x": [0.0] * 90 + [float(number) for number in range(30)]})
    found, labels = binned(frame, "x")
    assert len(labels) == found["bin"].n_unique() or len(labels) == found["bin"].n_unique() + 1
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("numbers", [[1_234_567.0, 1_234_568.0], [10_000 + number / 10 for number in range(40)]])
def test_bins_of_numbers_that_are_alike_have_different_names(numbers: list[float]) -> None:
    frame = pl.DataFrame({"window": [0, 1] * len(numbers), "value": np.repeat(numbers, 2)})
    _, labels = binned(frame, "value")
    assert len(set(labels)) == len(labels)
