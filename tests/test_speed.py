import json

import pytest

from benchmarks import speed
from benchmarks.speed import PAIRS, Pair, ratio, table
from recloop import models
from recloop.config import parse

OURS = {"seconds": 3.0, "rank_seconds": 0.5, "people": 6000, "peak_mib": 700.0}
THEIRS = {"seconds": 10.0, "share": 1.0, "rank_seconds": 2.0, "people": 500, "peak_mib": 900.0}


def record(**theirs: float) -> dict[str, object]:
    return {"ours": OURS, "theirs": THEIRS | theirs, "threads": 2, "machine": "a machine"}


def test_seconds_are_compared_for_as_many_predicted_events() -> None:
    pair = Pair(name="p", model="als", library="recbole", peer="P", most=1)
    assert ratio(pair, record()) == pytest.approx(0.3)
    half = Pair(name="p", model="als", library="recbole", peer="P", most=1, asked=0.5)
    assert ratio(half, record()) == pytest.approx(0.6)
    cut = Pair(name="p", model="als", library="recbole", peer="P", most=1, theirs_asked=0.5)
    assert ratio(cut, record()) == pytest.approx(0.15)


def test_every_pair_names_a_model_and_parameters_that_it_has() -> None:
    for pair in PAIRS:
        kind = models.find(pair.model)
        parse(kind.Config, pair.ours | dict([pair.passes] if pair.passes else []), pair.name)
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)


def test_the_table_says_what_was_cut_and_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        Pair(name="one", model="als", library="recbole", peer="P", most=0.5, asked=0.3),
        Pair(name="two", model="als", library="recbole", peer="Q", most=0.5),
    ]
    monkeypatch.setattr(speed, "PAIRS", pairs)
    written = table({"one": record(share=0.25)})
    assert "| one | recbole P (cut at 25%) | 10.00 | 3.00 (30%) | 1.00 | 0.5 | 250 | 12,000 | 900 | 700 |" in written
    assert "| two | recbole Q | not measured |" in written
    assert "a machine" in written


def test_the_page_is_written_from_the_results() -> None:
    assert speed.TABLE.read_text(encoding="utf-8") == speed.table(json.loads(speed.RESULTS.read_text(encoding="utf-8")))
