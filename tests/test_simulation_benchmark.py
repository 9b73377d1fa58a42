from typing import Any

from benchmarks.simulation import page, replay, world


def found(days: int = 16) -> dict[str, Any]:
    """The report of a simulation in which the loop falls behind on day 10 and is back on day 14."""

    def by_day(low: float) -> list[dict[str, Any]]:
        return [{"day": day, "visits": 100, "reward": low if 10 <= day < 14 else 0.9} for day in range(days)]

    against = {"people": 1000, "difference": 0.2, "low": 0.1, "high": 0.3}
    night = {"drifted": ["item_popularity"], "verdict": "retrain", "retrained": "done", "model": "ease"}
    quiet = {"drifted": [], "verdict": "wait", "retrained": None, "model": "als"}
    nights = [(night if day >= 10 else quiet) | {"day": day} for day in range(days)]
    return {
        "days": {"closed": by_day(0.2), "never": [row | {"reward": 0.3} for row in by_day(0.2)]},
        "nights": {"closed": [quiet | {"day": -1}, *nights]},
        "means": {"closed": {"reward": 0.8}, "never": {"reward": 0.3}},
        "against": {"never": against},
        "oracle_retrained": [["als", 1.0]] * days,
        "loop": {"retrained_before": [], "retrained_after": [10], "noticed": 10, "noticed_after_days": 1},
        "recovery": {"shares_from_then_on": {"closed": 0.95, "never": 0.3}},
    }


def test_a_world_is_a_row_and_a_column():
    text = page({"worlds": [world(7, found())]})
    row = "| 7 | 0 | night 1 | `item_popularity` | 90.0% | 95.0% | 30.0% | +0.2000 (+0.1000 to +0.3000) |"
    assert row in text
    assert "| 9 | 90% `als` |" in text
    assert "| 10 | 20% `als` |" in text  # the morning after the tastes moved the old model is still there
    assert "| 11 | 20% `ease` |" in text
    assert "## A record" not in text
    assert "\n\nBeside other work.\n\n" in page({"worlds": [world(7, found())], "remark": "Beside other work."})


def test_what_was_never_noticed_is_said():
    never = found()
    never["loop"] |= {"noticed": None, "noticed_after_days": None}
    assert "| 7 | 0 | never | clicks |" in page({"worlds": [world(7, never)]})


def test_a_replay_is_a_table_of_weeks():
    lived = found(3)
    text = page({"worlds": [world(7, found())], "replay": replay(lived)})
    assert "| week | visits | in charge | closed | never |" in text
    assert "| 0 | 100 | `als` | 0.9000 | 0.3000 |" in text
    assert "| all | 300 | | 0.8000 | 0.3000 |" in text
    assert "The loop less `never`, for the same 1,000 people: +0.2000 (+0.1000 to +0.3000) (95% interval)." in text
