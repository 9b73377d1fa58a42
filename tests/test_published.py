"""The published table is what was measured, and nothing else."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.published import __main__ as published
from benchmarks.published import recbole
from benchmarks.published.__main__ import (
    CHOSEN,
    GATES,
    RESULTS,
    TABLE,
    ClickGate,
    Gate,
    assignments,
    measure,
    table,
    verdict,
)
from recloop import models
from recloop.config import parse
from tests.support.lastfm import write_lastfm


def test_the_table_is_written_from_the_results() -> None:
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert TABLE.read_text(encoding="utf-8") == table(records)
    names = {gate.name for gate in GATES}
    assert {key.rpartition("/")[0] for key in records} <= names


def test_seeds_are_listed_in_order_whenever_they_were_run() -> None:
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert table(dict(reversed(records.items()))) == table(records)


def test_every_record_has_what_the_table_shows_of_its_gate() -> None:
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    bounds = {gate.name: gate.bounds for gate in GATES}
    for key, record in records.items():
        name, _, seed = key.rpartition("/")
        assert record["seed"] == int(seed)
        assert set(record["metrics"]) >= set(bounds[name])


def test_gates_name_models_and_parameters_that_are_there() -> None:
    assert len({gate.name for gate in GATES}) == len(GATES)
    for gate in GATES:
        own = {key: value for key, value in gate.settings.items() if not key.startswith("early_stopping.")}
        parse(models.find(gate.model).Config, own, gate.name)


def test_a_gate_is_reached_only_if_every_bound_is() -> None:
    gate = Gate("data", "ease", {"hit@10": 0.3, "ndcg@10": 0.2}, "somebody")
    assert verdict(gate, {"metrics": {"hit@10": 0.3, "ndcg@10": 0.2}}).startswith("reached: ")
    missed = verdict(gate, {"metrics": {"hit@10": 0.4, "ndcg@10": 0.1999}})
    assert missed == "missed: hit@10 0.4000 (published 0.3000), ndcg@10 0.1999 (published 0.2000)"


def test_the_bounds_beside_recbole_are_those_of_its_file() -> None:
    measured = json.loads((RESULTS.parent / "recbole.json").read_text(encoding="utf-8"))
    gates = {gate.model: gate for gate in GATES if gate.protocol == "ml-100k"}
    assert set(gates) == set(CHOSEN) == set(recbole.MODELS) == set(measured)
    for model, gate in gates.items():
        assert gate.bounds == {name: measured[model]["metrics"][name] for name in ("recall@10", "ndcg@10")}
        assert gate.source == "RecBole 1.2.1"


def test_a_ranking_is_measured_on_the_files_of_its_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(folder: Path) -> dict[str, Path]:
        return {"train": folder / "a", "test": folder / "b"}

    def validated(folder: Path) -> dict[str, Path]:
        return {**without(folder), "valid": folder / "c"}

    monkeypatch.setattr(published, "PROTOCOLS", {"without": without, "validated": validated})
    bounds = {"sampled_hit@10": 0.5, "ndcg@5": 0.4}
    plain = Gate("without", "ease", bounds, "").program(tmp_path)
    assert plain[:4] == ["recloop.cli", "benchmark", "--metrics", "hit@10,ndcg@5"]
    assert plain[4:] == ["--train", str(tmp_path / "a"), "--test", str(tmp_path / "b")]
    patient = ["--set", "early_stopping.max_examples=null", "--set", "early_stopping.patience=5"]
    assert Gate("validated", "ease", bounds, "").program(tmp_path) == [*plain, "--valid", str(tmp_path / "c"), *patient]


def test_every_gate_knows_how_it_is_measured(tmp_path: Path) -> None:
    for gate in GATES:
        if isinstance(gate, ClickGate):
            (program,) = gate.program(tmp_path)
            assert find_spec(program) is not None
        else:
            assert gate.protocol in published.PROTOCOLS


def test_parameters_become_words() -> None:
    assert assignments({"dim": 64, "whose": "candidate", "n": None}) == [
        "--set",
        "dim=64",
        "--set",
        'whose="candidate"',
        "--set",
        "n=null",
    ]


def test_click_prediction_takes_seed_device_and_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lastfm(tmp_path / "lastfm-kg")
    monkeypatch.setenv("RECLOOP_BENCH_DATA", str(tmp_path))
    gate = ClickGate("lastfm-kg", "kgat", {"auc": 0.5}, "somebody", {"epochs": 2, "dim": 8})
    record = measure(gate, 3, "cpu", ["dim=4"])
    assert (record["seed"], record["device"], record["passes"]) == (3, "cpu", 2)
    assert (record["config"]["epochs"], record["config"]["dim"]) == (2, 4)
    assert set(record["metrics"]) == {"auc", "f1"}
    assert record["peak_rss_mb"] > 50
    assert table({}).count("lastfm-kg/kgat") == 1


def test_a_run_that_fails_ends_the_program_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_lastfm(tmp_path / "lastfm-kg")
    monkeypatch.setenv("RECLOOP_BENCH_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        measure(ClickGate("lastfm-kg", "kgat", {}, ""), 0, "cpu", ["dim"])
    assert ended.value.code
    said = capfd.readouterr().err
    assert said == "error: --set 'dim' is not KEY=VALUE; write for example --set regularization=100.\n"


def test_a_run_with_other_parameters_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = GATES[0]
    record = {
        "seed": 1,
        "metrics": dict.fromkeys(gate.bounds, 0.125),
        "passes": 7,
        "fit_seconds": 1.0,
        "rank_seconds": 2.0,
        "peak_rss_mb": 3.0,
        "machine": "somewhere",
    }
    results, page = tmp_path / "results.json", tmp_path / "RESULTS.md"
    monkeypatch.setattr(published, "RESULTS", results)
    monkeypatch.setattr(published, "TABLE", page)

    def measured(*asked: object) -> dict[str, object]:
        # another run ends meanwhile
        results.write_text(json.dumps({f"{gate.name}/0": {**record, "seed": 0}}))
        return record

    monkeypatch.setattr(published, "measure", measured)
    monkeypatch.setattr("sys.argv", ["published", gate.name, "--seed", "1", "--set", "iterations=1"])
    published.main()
    assert set(json.loads(results.read_text())) == {f"{gate.name}/0"}
    assert not page.exists()
    monkeypatch.setattr("sys.argv", ["published", gate.name, "--seed", "1"])
    published.main()
    assert set(json.loads(results.read_text())) == {f"{gate.name}/0", f"{gate.name}/1"}
    assert page.read_text().count(f"| {gate.name} |") == 2
    assert "0.1250" in page.read_text()
