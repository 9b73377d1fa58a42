import json

import polars as pl
import pytest

from benchmarks import open_bandit
from benchmarks.published.protocols import DATA


def log(items: list[int], clicks: list[int], propensity: float) -> pl.DataFrame:
    rows = len(items)
    return pl.DataFrame(
        {
            "item_id": items,
            "position": [row % 2 for row in range(rows)],
            "click": clicks,
            "propensity_score": [propensity] * rows,
        }
    )


def test_shares_are_of_items_at_a_position() -> None:
    found = open_bandit.shares(log([0, 1, 0, 1, 2, 0], [0] * 6, 0.5)).sort("position", "item_id")
    assert found.rows() == [(0, 0, 2 / 3), (0, 2, 1 / 3), (1, 0, 1 / 3), (1, 1, 2 / 3)]


def test_a_policy_that_is_the_log_gets_its_own_rate() -> None:
    own = log([0, 0, 1, 1] * 100, [1, 0, 0, 0] * 100, 0.5)
    found = open_bandit.outcome(own, open_bandit.shares(own), own)
    assert found["truth"]["value"] == 0.25
    for name, estimate in found["estimates"].items():
        assert estimate["value"] == pytest.approx(0.25, abs=0.01 if name == "doubly_robust" else 1e-9)


def test_what_cannot_be_judged_says_why() -> None:
    found = open_bandit.outcome(
        log([0, 1], [0, 1], 0.5), open_bandit.shares(log([0, 1], [0, 0], 0.5)), log([0], [0], 1)
    )
    assert all(isinstance(estimate, str) and "below 100" in estimate for estimate in found["estimates"].values())
    text = open_bandit.table({"one from another": found})
    assert "## One from another" in text
    assert "| ips | refused: The policy cannot be judged" in text


def test_the_page_is_written_from_the_results() -> None:
    record = json.loads(open_bandit.RESULTS.read_text(encoding="utf-8"))
    assert open_bandit.TABLE.read_text(encoding="utf-8") == open_bandit.table(record)


@pytest.mark.realdata
@pytest.mark.skipif(not (DATA / "open-bandit").is_dir(), reason="no benchmark data")
def test_the_estimates_cover_the_click_rate_that_thompson_sampling_had() -> None:
    uniform, thompson = (open_bandit.read(name) for name in ("random_women", "bts_women"))
    found = open_bandit.outcome(uniform, open_bandit.shares(thompson), thompson)
    assert len(found["estimates"]) == 4
    for estimate in found["estimates"].values():
        low, high = estimate["interval"]
        assert low <= found["truth"]["value"] <= high
