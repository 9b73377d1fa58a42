"""RecBole's numbers: chosen on validation, tested once, kept with what was tried."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.published import recbole
from benchmarks.published.recbole import RESULTS, RUNNER, Peer, attempts, best, main, metrics, outcome, runner

# Validation NDCG is best after 20 passes, recall after 40.
NDCG = {None: 0.3, 10: 0.1, 20: 0.4, 40: 0.2}
RECALL = {None: 0.3, 10: 0.1, 20: 0.2, 40: 0.4}

STUB = """
import argparse, json
parser = argparse.ArgumentParser()
for name in ("train", "test", "model", "k", "threads", "out"):
    parser.add_argument("--" + name, required=True)
parser.add_argument("--set", action="append", default=[])
asked = parser.parse_args()
passes = int(asked.set[0].removeprefix("epochs=")) if asked.set else None
metrics = {"recall@10": 0.5, "ndcg@10": 1 / (1 + abs(20 - (passes or 0))), "hit@10": 0.9}
report = {"model": asked.model, "version": "9", "settings": {"epochs": passes}, "fit_seconds": 1, "metrics": metrics}
json.dump(report, open(asked.out, "w"))
"""


def test_the_passes_of_the_best_ndcg_are_tested_once(tmp_path: Path) -> None:
    asked: list[tuple[str, str, int | None]] = []

    def run(model: str, train: Path, test: Path, passes: int | None) -> dict[str, Any]:
        asked.append((train.name, test.name, passes))
        found = {"recall@10": RECALL[passes], "ndcg@10": NDCG[passes], "hit@10": 1}
        return {"model": model, "version": "1", "settings": {}, "fit_seconds": 2, "threads": 1, "metrics": found}

    peer = Peer("NeuMF", (10, 20, 40))
    tried = attempts(peer, tmp_path, run)
    assert tried[1] == {"passes": 20, "recall@10": 0.2, "ndcg@10": 0.4}
    assert best(tried) == 20
    record = outcome(peer, tmp_path, run, best(tried))
    assert record["metrics"] == metrics(record) == {"recall@10": 0.2, "ndcg@10": 0.4}
    assert asked == [("train.parquet", "valid.parquet", n) for n in (10, 20, 40)] + [
        ("both.parquet", "test.parquet", 20)
    ]
    assert best(attempts(Peer("EASE"), tmp_path, run)) is None


def test_what_is_kept_was_chosen_on_validation() -> None:
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    for model, record in records.items():
        passes = best(record["tried"])
        assert record["model"] == recbole.MODELS[model].name
        assert {one["passes"] for one in record["tried"]} <= set(recbole.MODELS[model].passes or (None,))
        assert passes is None or record["settings"]["epochs"] == passes


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a runner, and the split and the results elsewhere."""
    folder = tmp_path / "peers"
    folder.mkdir()
    (folder / RUNNER).write_text(STUB)

    def ml_100k(into: Path) -> None:
        for number, part in enumerate(("train", "valid", "test")):
            pl.DataFrame({"user_id": [number], "item_id": [7]}).write_parquet(into / f"{part}.parquet")

    monkeypatch.setattr(recbole, "ml_100k", ml_100k)
    monkeypatch.setattr(recbole, "RESULTS", tmp_path / "recbole.json")
    return folder


def _main(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["recbole", *map(str, words)])
    main()


def test_the_program_keeps_what_it_measured(peers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("--peers", peers, "--python", sys.executable)
    _main(monkeypatch, *given, "bpr", "ease")
    records = recbole.read()
    assert set(records) == {"bpr", "ease"}
    assert [one["passes"] for one in records["bpr"]["tried"]] == [20, 50, 100, 200]
    assert records["bpr"]["settings"] == {"epochs": 20}
    assert records["bpr"]["metrics"] == {"recall@10": 0.5, "ndcg@10": 1.0}
    assert records["ease"]["model"] == "EASE"
    records["bpr"]["tried"] = [{"passes": 50, "recall@10": 0.1, "ndcg@10": 0.1}]
    recbole.RESULTS.write_text(json.dumps(records))
    _main(monkeypatch, *given, "bpr", "--chosen")
    assert recbole.read()["bpr"]["settings"] == {"epochs": 50}
    assert len(recbole.read()["bpr"]["tried"]) == 1


def test_the_rows_of_both_parts_are_learnt_from(peers: Path, tmp_path: Path) -> None:
    recbole.split(tmp_path)
    assert pl.read_parquet(tmp_path / "both.parquet")["user_id"].to_list() == [0, 1]


def test_mistakes_of_the_caller_are_sentences(
    peers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        SystemExit, match=r"peer_recbole\.py does not exist; name the folder that holds it by --peers\."
    ):
        runner(tmp_path / "nowhere", sys.executable)
    with pytest.raises(
        SystemExit, match=r"no-python is no program; name an interpreter that has RecBole by --python\."
    ):
        runner(peers, "no-python")
    with pytest.raises(SystemExit):
        _main(monkeypatch, "--peers", peers, "--python", sys.executable, "als")
    assert "there is no 'als' to measure; choose from: ease, item_knn, bpr" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        _main(monkeypatch, "--peers", peers, "--python", sys.executable, "bpr", "--chosen")
    assert "no passes were chosen before for 'bpr'; leave --chosen out" in capsys.readouterr().err
    (peers / RUNNER).write_text("raise ImportError('No module named recbole')")
    run = runner(peers, sys.executable)
    expected = (
        r"peer_recbole\.py failed with BPR \(ImportError: No module named recbole\); correct that and run again\."
    )
    with pytest.raises(SystemExit, match=expected):
        run("BPR", tmp_path / "a", tmp_path / "b", 1)
