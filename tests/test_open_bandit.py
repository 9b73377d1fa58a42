"""Off-policy estimates on the Open Bandit data: what is counted by hand, and what the real data must show."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import open_bandit
from benchmarks.open_bandit import GROUPS, estimates, items, own_rate, policy_error, read, targets
from benchmarks.published.protocols import DATA

RANDOM = pl.DataFrame({"item": [0, 1, 2, 0], "position": [1, 1, 2, 2], "click": [1.0, 0.0, 0.0, 1.0], "day": ["a"] * 4})
POLICY = pl.DataFrame({"item": [0, 0, 1, 1], "position": [1, 1, 1, 2], "click": [0.0] * 4, "day": ["a", "a", "b", "a"]})


def test_probabilities_are_the_shares_of_the_policys_log() -> None:
    first, second = [2 / 3, 1 / 3, 0], [0, 1, 0]
    found = targets(POLICY, RANDOM, ["position"])
    assert found == pytest.approx(np.array([first, first, second, second]))
    assert targets(POLICY, RANDOM, ["position", "day"])[0].tolist() == [1, 0, 0]


def test_the_error_of_counted_shares_by_hand() -> None:
    # Rates shrunk to 1/2 by 20: (2 + 10) / 22 for item 0, 10 / 21 for item 1. Position 1 has half of the rows, and the
    # variance of two items of 2/3 and 1/3 there; position 2 has one item.
    difference = 12 / 22 - 10 / 21
    expected = (0.5**2 * (2 / 9) * difference**2 / 3) ** 0.5
    assert policy_error(POLICY, RANDOM, ["position"]) == pytest.approx(expected)


def test_own_rates_have_exact_intervals() -> None:
    rate = own_rate(RANDOM)
    assert (rate["clicks"], rate["rows"], rate["rate"]) == (2, 4, 0.5)
    # P(X >= 2) = 0.025 and P(X <= 2) = 0.025 for X of 4.
    assert rate["interval"] == pytest.approx([0.0676, 0.9324], abs=1e-4)


def test_the_page_is_written_from_the_results() -> None:
    record = json.loads(open_bandit.RESULTS.read_text(encoding="utf-8"))
    assert open_bandit.TABLE.read_text(encoding="utf-8") == open_bandit.table(record)


@pytest.fixture(scope="module")
def logs() -> dict[str, pl.DataFrame]:
    folder = DATA / "open-bandit"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; name the folder of the benchmark data by RECLOOP_BENCH_DATA")
    return {name: read(folder / f"{name}_women.parquet") for name in ("random", "bts")}


@pytest.mark.realdata
@pytest.mark.parametrize("name", GROUPS)
def test_estimates_of_thompson_sampling_hold_its_own_click_rate(logs: dict[str, pl.DataFrame], name: str) -> None:
    truth = own_rate(logs["bts"])
    found = estimates(logs["random"], targets(logs["bts"], logs["random"], GROUPS[name]), certain=True)
    assert set(found) == {"ips", "clipped_ips", "snips", "doubly_robust"}
    for one in found.values():
        low, high = one["interval"]
        assert low <= truth["rate"] <= high
        # The interval says something: it excludes a tenth of the rate, and three times it.
        assert truth["rate"] / 10 < low
        assert high < 3 * truth["rate"]
        assert one["effective"] > 2000


@pytest.mark.realdata
def test_the_reverse_is_refused(logs: dict[str, pl.DataFrame]) -> None:
    """Weights of the random policy reach 20,000 in the Thompson log, which cannot tell its value."""
    uniform = np.full((logs["bts"].height, 46), 1 / 46)
    assert items(logs["random"]) == 46
    found: dict[str, Any] = estimates(logs["bts"], uniform, certain=False)
    assert all("refused" in one for one in found.values())
    assert "effective sample size of 2.1" in found["ips"]["refused"]
