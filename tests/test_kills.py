import json

from benchmarks.kills import RESULTS, account


def test_what_is_missing_or_repeated_is_counted() -> None:
    assert account(["a", "b", "c", "d"], ["a", "b", "b", "x", "x", "d"]) == {"missing": 1, "repeated": 1}


def test_the_recorded_kills_lost_and_repeated_nothing() -> None:
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert sum(record["kills"].values()) >= 100
    assert record["acknowledged"] > 1_000
    for place in ("store", "data"):
        assert record[place] == {"missing": 0, "repeated": 0}
    assert record["champion_invalid"] == 0
