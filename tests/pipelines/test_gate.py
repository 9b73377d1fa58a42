import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pipelines import evaluate, gate, run
from recloop.errors import BundleError, ConfigError, DataError
from recloop.evaluation.contenders import fit
from recloop.models import storage
from tests.support.logs import write_log
from tests.support.project import SMALL, make
from tests.support.trained import Trained


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    monkeypatch.chdir(tmp_path)
    project = Trained(tmp_path)
    again(project, "popularity", "ease")
    return project


def again(project: Trained, *names: str) -> None:
    """Train and evaluate."""
    project.train(*names)
    for name in names:
        evaluate.main(name)


def decided(project: Trained) -> dict[str, Any]:
    gate.main()
    return json.loads((project.root / "artifacts/gate/decision.json").read_text())


def test_the_first_run_promotes_what_beats_popularity(project: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    decision = decided(project)
    assert (decision["verdict"], decision["winner"], decision["champion"]) == ("promote", "ease", None)
    ease = next(one for one in decision["candidates"] if one["model"] == "ease")
    assert ease["against"]["popularity"]["ci95"][0] > 0
    assert {floor["name"] for floor in ease["floors"]} >= {"coverage@10", "ndcg@10 in tail_items"}
    board = pl.read_csv(project.root / "artifacts/gate/leaderboard.csv")
    assert board["model"].to_list() == ["ease", "popularity"]
    assert board.columns[:2] == ["model", "ndcg@10"]
    assert "coverage@10" in board.columns
    assert capsys.readouterr().out.endswith(
        f"promote: {decision['reasons'][0]} All reasons: artifacts/gate/decision.json\n"
    )


def test_the_same_again_decides_the_same(project: Trained) -> None:
    assert decided(project) == decided(project)


def test_a_terminal_gets_a_table(
    project: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    gate.main()
    shown = capsys.readouterr().out
    assert "Gate: promote" in shown
    assert shown.index("ease") < shown.index("popularity")


def test_the_champion_is_recognised_by_its_weights(project: Trained) -> None:
    bundle = project.champion("ease")
    decision = decided(project)
    assert (decision["verdict"], decision["winner"]) == ("keep", None)
    assert decision["champion"] == {"bundle": bundle, "model": "ease"}
    ease = next(one for one in decision["candidates"] if one["model"] == "ease")
    assert ease["reasons"] == [f"ease is the champion already: its weights equal those of bundle {bundle}."]
    assert "popularity does not surely beat the champion ease" in " ".join(decision["reasons"])


def test_of_a_champion_that_was_trained_once_more_the_evaluated_weights_are_judged(project: Trained) -> None:
    # What serves has seen the test.
    whole = pl.read_parquet(project.root / "artifacts/clean/interactions.parquet")
    served, catalogue = fit("ease", None, whole, device=torch.device("cpu"))
    bundle = project.champion("ease", served=storage.Trained(model=served, vocabulary=catalogue))
    decision = decided(project)
    ease = next(one for one in decision["candidates"] if one["model"] == "ease")
    assert ease["reasons"] == [f"ease is the champion already: its weights equal those of bundle {bundle}."]
    others = next(one for one in decision["candidates"] if one["model"] == "popularity")
    project.champion("ease")
    alone = next(one for one in decided(project)["candidates"] if one["model"] == "popularity")
    assert others["against"]["champion"] == alone["against"]["champion"]


def test_a_champion_of_an_older_catalogue_answers_the_same_questions(project: Trained) -> None:
    # The champion was trained before the items of the first group, i0 to i9, existed.
    project.train("ease", without=[f"i{item}" for item in range(10)])
    bundle = project.champion("ease")
    again(project, "ease")
    decision = decided(project)
    assert (decision["verdict"], decision["winner"]) == ("promote", "ease")
    ease = next(one for one in decision["candidates"] if one["model"] == "ease")
    assert ease["against"]["champion"]["difference"] > 0.1
    assert decision["champion"] == {"bundle": bundle, "model": "ease"}


def test_a_challenger_that_does_not_beat_the_champion_is_rejected(project: Trained) -> None:
    project.champion("ease")
    project.params(train={"models": ["popularity"]})
    decision = decided(project)
    assert (decision["verdict"], decision["winner"]) == ("keep", None)
    assert decision["reasons"][0] == "No challenger passed, so the champion ease stays."
    assert decision["candidates"][0]["against"]["champion"]["ci95"][1] < 0


def test_popularity_is_fitted_where_it_was_not_trained(project: Trained) -> None:
    both = decided(project)
    project.params(train={"models": ["ease"]})
    shutil.rmtree(project.root / "artifacts/models/popularity")
    shutil.rmtree(project.root / "artifacts/evaluation/popularity")
    alone = decided(project)
    assert (alone["verdict"], alone["winner"]) == ("promote", "ease")
    assert [one["model"] for one in alone["candidates"]] == ["ease"]
    against = [next(one for one in run_["candidates"] if one["model"] == "ease")["against"] for run_ in (both, alone)]
    assert against[0] == against[1]


def test_any_model_may_be_the_baseline(project: Trained) -> None:
    project.params(gate={"baseline": "item_knn"})
    fitted = decided(project)
    against = next(one for one in fitted["candidates"] if one["model"] == "ease")["against"]
    assert against.keys() == {"item_knn", "champion"}
    project.train("item_knn")
    evaluate.main("item_knn")
    project.params(train={"models": ["popularity", "ease", "item_knn"]})
    listed = decided(project)
    trained = next(one for one in listed["candidates"] if one["model"] == "ease")["against"]["item_knn"]
    assert trained["difference"] == against["item_knn"]["difference"]
    assert "item_knn is the baseline that challengers must beat" in str(listed["candidates"])


def test_the_baselines_own_parameters_count(project: Trained) -> None:
    def difference(**own: object) -> float:
        project.params(gate={"baseline": "recency"}, train={"recency": own})
        ease = next(one for one in decided(project)["candidates"] if one["model"] == "ease")
        return ease["against"]["recency"]["difference"]

    assert difference(half_life_days=1000.0) != difference(half_life_days=0.01)


@pytest.mark.slow
@pytest.mark.integration
def test_dvc_decides_anew_whatever_the_baseline_depends_on(tmp_path: Path) -> None:
    project = make(tmp_path)
    project.recloop("ingest")

    def repro(**sections: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """The stages that `dvc repro` runs for the gate, and what ease is compared with."""
        project.change(sections)
        said = project.dvc("repro", "gate").stdout
        decision = json.loads((tmp_path / "artifacts/gate/decision.json").read_text())
        ease = next(one for one in decision["candidates"] if one["model"] == "ease")
        ran = [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]
        return ran, {name: found["difference"] for name, found in ease["against"].items() if found}

    train = SMALL["train"] | {"models": ["ease"]}
    ran, against = repro(train=train)
    assert ran == ["validate", "split", "pretrained", "train@ease", "evaluate@ease", "gate"]
    assert against.keys() == {"popularity"}
    ran, default = repro(gate={"baseline": "recency"})
    assert ran == ["gate"]
    assert default.keys() == {"recency"}
    assert repro(gate={"baseline": "recency"}) == ([], default)
    train |= {"recency": {"half_life_days": 0.5}}
    ran, against = repro(train=train)
    assert ran == ["pretrained", "gate"]
    assert against.keys() == {"recency"}
    assert against != default
    ran, listed = repro(train=train | {"models": ["ease", "recency"]})
    assert ran == ["pretrained", "train@recency", "evaluate@recency", "gate"]
    assert listed == against


def test_models_that_are_no_longer_listed_are_ignored(project: Trained) -> None:
    project.params(train={"models": ["popularity"]})
    decision = decided(project)
    assert [one["model"] for one in decision["candidates"]] == ["popularity"]
    assert decision["winner"] == "popularity"
    assert pl.read_csv(project.root / "artifacts/gate/leaderboard.csv").height == 1


def test_latency_is_judged_by_the_timings(project: Trained) -> None:
    project.params(gate={"floors": {"latency_p95_ms": 1e-6}})
    decision = decided(project)
    assert decision["verdict"] == "keep"
    assert any("is too slow: the p95 time of a request is" in reason for reason in decision["reasons"])


def test_stale_evaluations_are_refused(project: Trained) -> None:
    project.params(evaluate={"mask_seen": False})
    with pytest.raises(DataError) as caught:
        gate.main()
    assert str(caught.value) == (
        "artifacts/evaluation/popularity answers other questions than artifacts/split asks now; run 'dvc repro' to "
        "evaluate again."
    )


def test_a_missing_evaluation_is_named(project: Trained) -> None:
    project.params(train={"models": ["popularity", "als"]})
    with pytest.raises(DataError, match=r"artifacts/evaluation/als/metrics.json does not exist; run the stage that"):
        gate.main()


@pytest.mark.parametrize("models", ["ease", [], None])
def test_models_must_be_a_list(project: Trained, models: object) -> None:
    project.params(train={"models": models})
    with pytest.raises(ConfigError, match=r"^params.yaml: train.models is .*, but must list at least one model; name"):
        gate.main()


def test_a_damaged_champion_is_named(project: Trained) -> None:
    bundle = project.champion("ease")
    path = project.root / "artifacts/bundles" / bundle / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BundleError, match=rf"Bundle artifacts/bundles/{bundle}: 'weights.safetensors' has \d+ bytes"):
        gate.main()


def test_a_baseline_that_is_no_model_is_named(project: Trained) -> None:
    project.params(gate={"baseline": "popular"})
    with pytest.raises(ConfigError) as caught:
        gate.main()
    said = str(caught.value)
    assert said.startswith("params.yaml: gate.baseline is 'popular', but there is no such model among als, ")
    assert said.endswith("; correct the value.")


def test_an_unknown_parameter_is_one_sentence_and_status_2(
    project: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.params(gate={"metrik": "ndcg@10"})
    monkeypatch.setattr("sys.argv", ["gate"])
    with pytest.raises(SystemExit) as ended:
        run(gate.main)
    assert ended.value.code == 2
    assert "params.yaml: gate.metrik is not a known parameter; known ones are: " in capsys.readouterr().err
    assert not (project.root / "artifacts/gate").exists()


def log_of_slates(project: Trained, bundle: str, propensity: float) -> None:
    """Slates of one item drawn uniformly of 30, in the test window; people act on what is not of their group."""
    random = np.random.default_rng(3)
    begin = datetime.fromisoformat(project.parts.summary["test_window"][0]).timestamp()
    users, items = np.arange(3_000) % 60, random.integers(0, 30, 3_000)
    moments = begin + 60 + random.integers(0, 15 * 86_400, 3_000)
    write_log(
        project.root / "data",
        users=[f"u{user}" for user in users],
        items=[f"i{item}" for item in items],
        moments=(moments * 1_000_000).astype(np.int64).tolist(),
        clicked=(users % 3 != items // 10).tolist(),
        propensity=propensity,
        bundle=bundle,
    )


def test_the_champions_log_is_reported_and_rejects_where_that_is_asked_for(project: Trained) -> None:
    log_of_slates(project, project.champion("popularity"), 1 / 30)
    project.params(gate={"off_policy": {"floors": {"min_effective": 20}}})
    decision = decided(project)
    assert (decision["verdict"], decision["winner"]) == ("promote", "ease")
    said = " ".join(decision["reasons"])
    assert "The first place of ease's slates would have been acted on in this share of the champion's" in said
    assert "would surely have earned less than the champion did, which is only reported" in said
    ease = next(one for one in decision["candidates"] if one["model"] == "ease")
    assert [one["method"] for one in ease["off_policy"]] == ["snips", "doubly_robust"]
    assert ease["off_policy"][0]["interval"][1] < decision["logged"]["value"]
    board = pl.read_csv(project.root / "artifacts/gate/leaderboard.csv")
    assert board.filter(model="ease")["slate_value"].to_list() == [ease["off_policy"][0]["value"]]
    project.params(gate={"off_policy": {"reject": True, "floors": {"min_effective": 20}}})
    decision = decided(project)
    assert (decision["verdict"], decision["winner"]) == ("keep", None)
    assert "ease would surely have earned less than the champion did, so it is rejected." in decision["reasons"]


def test_a_log_without_exploration_is_refused_in_one_sentence(project: Trained) -> None:
    log_of_slates(project, project.champion("popularity"), 1.0)
    project.params(gate={"off_policy": {"reject": True}})
    decision = decided(project)
    assert decision["winner"] == "ease"
    assert decision["reasons"][-1].startswith("Off-policy estimates are refused, as nothing was left to chance")
    assert decision["logged"] is None
    assert "slate_value" not in pl.read_csv(project.root / "artifacts/gate/leaderboard.csv").columns
