import json

from scipy.stats import binom

from benchmarks import canary
from recloop.loop.sequential import CanaryConfig

CONFIG = CanaryConfig()


def test_canaries_that_are_no_different_end_by_chance_no_more_often_than_stated() -> None:
    found = canary.canaries(200, lift=0.0, share=0.3, seed=1, config=CONFIG)
    ended = sum(one.end != "undecided" for one in found)
    assert binom.sf(ended - 1, len(found), CONFIG.alpha) > 0.01
    assert all(one.days == CONFIG.max_days for one in found if one.end == "undecided")


def test_bad_and_good_challengers_are_told_apart_long_before_the_end() -> None:
    bad, good = (canary.canaries(15, lift=lift, share=0.3, seed=2, config=CONFIG) for lift in (-0.1, 0.1))
    assert {one.end for one in bad} == {"rollback"}
    assert {one.end for one in good} == {"promote"}
    summary = canary.summary(bad)
    assert summary["median_days"] < CONFIG.max_days / 2
    assert 0 < summary["median_seen"] <= summary["largest_seen"] < 0.3


def test_the_page_is_written_from_the_results() -> None:
    record = json.loads(canary.RESULTS.read_text(encoding="utf-8"))
    assert canary.TABLE.read_text(encoding="utf-8") == canary.table(record)
    assert record["config"] == CONFIG.model_dump()
