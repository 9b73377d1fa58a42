"""Figures and a page of what was lived."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recloop.data.tables import read_json, write_json, write_parquet
from recloop.simulation import report
from recloop.simulation.days import HINDSIGHT, NIGHTS, VISITS

DAYS, SHIFT = 8, 2


def visits(rewards: list[float]) -> pl.DataFrame:
    """Four people a day; one of two visits of the first is worth nothing that counts."""
    rows = [
        {"day": day, "user_id": f"u{user}", "bundle": "b", "fallback": None, "reward": reward + user / 10, "best": 2.0}
        for day, reward in enumerate(rewards)
        for user in (-1, 0, 1)
    ]
    rows.append(rows[0] | {"reward": float("nan")})
    return pl.DataFrame(rows).with_columns(acts=pl.lit(1))


def night(day: int, verdict: str | None = None, retrained: str | None = None, drifted: list[str] | None = None) -> Any:
    reasons = ["<b>Because</b>"] if verdict else []
    return {
        "day": day,
        "verdict": verdict,
        "reasons": reasons,
        "drifted": drifted or [],
        "retrained": retrained,
        "model": "ease",
        "bundle": "b",
    }


@pytest.fixture
def lived(tmp_path: Path) -> Path:
    rewards = {"closed": [1.0, 1.0, 0.4, 0.4, 0.8, 0.8, 0.9, 0.9], "never": [1.0, 1.0, *[0.4] * 6]}
    for regime, values in rewards.items():
        (tmp_path / regime).mkdir()
        write_parquet(visits(values), tmp_path / regime / VISITS)
    nights = [night(-1, retrained="the first model"), *(night(day, "wait") for day in range(3))]
    nights += [night(3, "retrain", "done: promoted", ["item_popularity"]), *(night(day, "wait") for day in range(4, 8))]
    write_json({"nights": nights}, tmp_path / "closed" / NIGHTS)
    write_json({"nights": [night(day) for day in range(-1, DAYS)]}, tmp_path / "never" / NIGHTS)
    hindsight = [{"ease, all events": 0.7, "als, all events": 0.6} for _ in range(6)] + [{"ease, all events": 1.0}] * 2
    write_json({"days": hindsight}, tmp_path / "closed" / HINDSIGHT)
    return tmp_path


def test_rewards_by_day_leave_out_what_does_not_count(lived: Path):
    found = report.write(lived, ["closed", "never"], shift=SHIFT)
    first = found["days"]["closed"][0]
    assert (first["visits"], first["reward"]) == (3, pytest.approx(1.0))
    assert first["low"] <= first["reward"] <= first["high"]
    assert found["means"]["never"]["reward"] == pytest.approx(4.4 / 8)
    assert [row["reward"] for row in found["oracle"]] == [2.0] * DAYS
    assert read_json(lived / "report.json")["means"] == found["means"]


def test_the_loop_is_compared_for_the_same_people(lived: Path):
    against = report.write(lived, ["closed", "never"], shift=SHIFT)["against"]["never"]
    assert against["people"] == 3
    assert against["difference"] == pytest.approx((0.4 * 2 + 0.5 * 2) / 8)
    assert against["low"] > 0


def test_when_it_was_noticed_and_what_was_recovered(lived: Path):
    found = report.write(lived, ["closed", "never"], shift=SHIFT)
    assert found["loop"] == {"retrained_before": [], "retrained_after": [3], "noticed": 3, "noticed_after_days": 2}
    recovery = found["recovery"]
    assert (recovery["day"], recovery["oracle_retrained"]) == (6, ("ease, all events", 1.0))
    assert recovery["shares"] == {"closed": pytest.approx(0.9), "never": pytest.approx(0.4)}
    said = report.sentences(found, SHIFT)
    assert "It was noticed in the night after day 3, the new tastes' day 2." in said
    assert "The loop decides: 90.0% of that; from then on 90.0%." in said


def test_the_page_needs_nothing_else_and_shows_text_as_text(lived: Path):
    report.write(lived, ["closed", "never"], shift=SHIFT)
    page = (lived / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;Because&lt;/b&gt;" in page
    assert "<b>Because" not in page
    assert "<script src" not in re.sub(r"<script[^>]*>.*?</script>", "<script></script>", page, flags=re.DOTALL)
    assert "<link" not in re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert "tastes move" in page


def test_without_a_shift_there_is_nothing_to_recover(lived: Path):
    found = report.write(lived, ["never"], shift=None)
    assert "recovery" not in found
    assert "loop" not in found
    assert len(report.sentences(found, None)) == 1
