from math import log, sqrt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recloop.drift.comparison import LARGEST, Shares, compare


def observed(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"window": pl.Int8, "code": pl.Int64, "bin": pl.Int64}, orient="row")


def each_once(window: int, first_code: int, counts: list[int]) -> list[tuple[int, int, int]]:
    """One observation a person, `counts` of them in each bin."""
    bins = [number for number, count in enumerate(counts) for _ in range(count)]
    return [(window, first_code + index, number) for index, number in enumerate(bins)]


def test_the_distance_by_hand():
    found = compare(
        observed(each_once(0, 0, [5, 5, 0]) + each_once(1, 10, [5, 10, 5])), ["a", "b", "c"], column="x", tolerance=0.1
    )
    assert found
    p, q = [0.5, 0.5, 0], [0.25, 0.5, 0.25]
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = sum(a * log(a / b) for share in (p, q) for a, b in zip(share, m, strict=True) if a)
    assert found.value == pytest.approx(sqrt(divergence / 2))
    assert (found.column, found.statistic, found.n_reference, found.n_current) == ("x", "jensenshannon", 10, 20)
    assert isinstance(found.shown, Shares)
    assert found.shown.labels == ["a", "b", "c"]
    np.testing.assert_allclose(found.shown.reference, p)
    np.testing.assert_allclose(found.shown.current, q)


def test_distributions_without_overlap_are_as_far_apart_as_possible():
    found = compare(observed(each_once(0, 0, [9, 0]) + each_once(1, 9, [0, 7])), ["a", "b"], column="x", tolerance=0)
    assert found
    assert found.value == pytest.approx(LARGEST)
    assert pytest.approx(0.83255461) == LARGEST


def test_the_threshold_by_definition():
    """Against a loop over people; some occur in both windows, some more often than others."""
    rng = np.random.default_rng(5)
    rows = [(int(rng.random() < 0.3), int(rng.integers(12) ** 2 // 12), int(rng.integers(4))) for _ in range(300)]
    found = compare(observed(rows), list("abcde"), column="x", tolerance=0.05)
    assert found
    counts = np.zeros((2, 12, 5))
    for window, code, number in rows:
        counts[window, code, number] += 1
    totals = counts.sum(axis=(1, 2))
    p, q = counts.sum(axis=1) / totals[:, None]
    covariance = np.zeros((5, 5))
    for reference, current in zip(*counts, strict=True):
        influence = (current - current.sum() * q) / totals[1] - (reference - reference.sum() * p) / totals[0]
        covariance += np.outer(influence, influence)
    weight = np.array([1 / sqrt(8 * m) if m else 0 for m in (p + q) / 2])
    eigenvalues = np.linalg.eigvalsh(covariance * np.outer(weight, weight))
    scale, degrees = (eigenvalues**2).sum() / eigenvalues.sum(), eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    active = counts.sum(axis=2)
    people = min(active.sum(axis=1) ** 2 / (active**2).sum(axis=1))
    expected = sqrt(0.05**2 + scale * degrees * stats.f.ppf(0.999, degrees, people - 1))
    assert found.threshold(0.001) == pytest.approx(expected)


def test_the_threshold_approaches_what_is_tolerated_as_people_become_many():
    def threshold(n: int) -> float:
        rows = each_once(0, 0, [n, n, n]) + each_once(1, 3 * n, [n, n, n])
        found = compare(observed(rows), ["a", "b", "c"], column="x", tolerance=0.1)
        assert found
        assert found.value == 0
        return found.threshold(0.01)

    assert threshold(10) > threshold(100) > threshold(10_000) > 0.1
    assert threshold(10_000) == pytest.approx(0.1, abs=0.002)


def test_repeating_every_observation_of_a_person_makes_nothing_surer():
    rows = each_once(0, 0, [8, 12]) + each_once(1, 20, [12, 8])
    once, often = (compare(observed(rows * times), ["a", "b"], column="x", tolerance=0.1) for times in (1, 50))
    assert once
    assert often
    assert often.threshold(0.01) == pytest.approx(once.threshold(0.01))


def test_growth_of_another_bin_is_harmless():
    shrinking = observed(each_once(0, 0, [10, 90]) + each_once(1, 100, [90, 10]))
    growing = observed(each_once(0, 0, [90, 10]) + each_once(1, 100, [10, 90]))
    results = [compare(rows, ["a", "b"], column="x", tolerance=0.1, growing=1) for rows in (shrinking, growing)]
    assert results[0]
    assert results[0].threshold(0.01) == LARGEST
    assert results[1]
    assert results[1].value > results[1].threshold(0.01)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        each_once(0, 0, [10, 10]),
        each_once(0, 0, [10, 0]) + each_once(1, 10, [10, 0]),
        each_once(0, 0, [10, 10]) + each_once(1, 20, [2, 2]),
        each_once(0, 0, [10, 10]) + [(1, 20, 0)] * 1000 + each_once(1, 21, [4, 4]),
    ],
    ids=["nothing", "one window", "one bin", "four people", "one person does nearly all"],
)
def test_nothing_to_compare(rows: list[tuple[int, int, int]]):
    assert compare(observed(rows), ["a", "b"], column="x", tolerance=0.1) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_it_is_symmetric_and_bounded(seed: int, bins: int):
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.integers(2, size=200), rng.integers(40, size=200), rng.integers(bins, size=200)], axis=1)
    labels = [f"{number}" for number in range(bins)]
    frame = observed([tuple(map(int, row)) for row in rows])
    there = compare(frame, labels, column="x", tolerance=0)
    back = compare(frame.with_columns(1 - pl.col("window")), labels, column="x", tolerance=0)
    assert there
    assert back
    assert 0 <= there.value <= LARGEST
    assert there.value == pytest.approx(back.value)
    assert there.threshold(0.01) == pytest.approx(back.threshold(0.01))
    assert there.threshold(0.001) >= there.threshold(0.01)
