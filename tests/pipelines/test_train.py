import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from pipelines.train import main
from recloop import models
from recloop.columns import EVENT_KEY
from recloop.data.bundles import copy
from recloop.data.sequences import Contexts, Examples
from recloop.data.splits import SplitConfig, split
from recloop.data.tables import canonical_interactions, read_json, write_json, write_parquet
from recloop.errors import BundleError, ConfigError
from recloop.models import Model
from recloop.models.storage import Trained, load
from recloop.serving.bundle import write_bundle
from recloop.training import loop
from recloop.training.config import EarlyStopping
from tests.support.planted import quick, tables

SMALL = {
    "als": {"factors": 4, "iterations": 3},
    "sasrec": {"dim": 8, "layers": 1, "max_length": 5, "epochs": 2},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a split of 30 people's 600 events on 20 items."""
    random = np.random.default_rng(0)
    events = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in random.integers(0, 30, 600)],
            "item_id": [f"i{number}" for number in random.integers(0, 20, 600)],
            "timestamp": random.permutation(600),
            "value": random.integers(1, 6, 600),
        }
    )
    parts = split(canonical_interactions(events, "events"), SplitConfig())
    for part in ("train", "valid", "test"):
        write_parquet(getattr(parts, part), tmp_path / "artifacts" / "split" / f"{part}.parquet")
    write_json(parts.summary, tmp_path / "artifacts" / "split" / "split.json")
    known = tables([f"i{number}" for number in range(20)], [f"u{number}" for number in range(30)])
    for table in ("items", "users", "knowledge"):
        write_parquet(getattr(known, table), tmp_path / "artifacts" / "clean" / f"{table}.parquet")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"train": SMALL}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", models.names())
def test_a_model_and_its_curves_are_written(project: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = json.loads(json.dumps(quick(name))) | SMALL.get(name, {})
    (project / "params.yaml").write_text(yaml.safe_dump({"train": {name: own}}), encoding="utf-8")
    main(name)
    model, items = load(Path("artifacts/models") / name)
    assert model.name() == name
    assert len(items) == 20
    assert model.score(Contexts.from_lists([[0, 1]])).shape == (1, 20)
    assert pl.read_csv(Path("artifacts/curves/loss") / f"{name}.csv").columns == ["epoch", "loss"]
    curves = pl.read_csv(Path("artifacts/curves/validation") / f"{name}.csv")
    metric, most = ("rmse", 4) if "values" in model.needs else ("ndcg@10", 1)
    assert curves.columns == ["epoch", metric]
    assert curves[metric].drop_nulls().is_between(0, most).all()
    assert curves.height == {"als": 3, "sasrec": 2}.get(name, curves.height)
    assert not list(Path("artifacts/checkpoints").rglob("*.safetensors"))
    assert capsys.readouterr().out.startswith(f"{name}: trained on 480 events and 20 items")


@pytest.mark.parametrize("targets", ["successive", "last", "all"])
def test_validation_asks_what_the_test_will_ask(project: Path, targets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = canonical_interactions(
        pl.concat([pl.read_parquet(f"artifacts/split/{part}.parquet") for part in ("train", "valid", "test")]), "events"
    )
    summary = split(everything, SplitConfig.model_validate({"targets": targets})).summary
    write_json(summary, Path("artifacts/split/split.json"))
    asked: list[int] = []
    validated = loop.validate

    def validate(model: Model, questions: Examples, how: EarlyStopping) -> float:
        asked.append(len(questions))
        return validated(model, questions, how)

    monkeypatch.setattr(loop, "validate", validate)
    main("popularity")
    assert asked == [summary["valid_examples"]]
    each_in_turn = split(everything, SplitConfig()).summary["valid_examples"]
    assert (asked[0] < each_in_turn) is (targets != "successive")


def test_validation_does_not_ask_for_what_followed_from_slates(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Examples] = []
    validated = loop.validate

    def validate(model: Model, questions: Examples, how: EarlyStopping) -> float:
        asked.append(questions)
        return validated(model, questions, how)

    monkeypatch.setattr(loop, "validate", validate)
    main("popularity")
    valid = pl.read_parquet("artifacts/split/valid.parquet")
    shown = valid.gather_every(5).select(EVENT_KEY)
    write_parquet(shown, Path("artifacts/clean/prompted.parquet"))
    main("popularity")
    everything, own = asked
    assert len(own) < len(everything)
    remaining = valid.join(shown, on=EVENT_KEY, how="anti")["user_id"].unique()
    known = pl.concat([pl.read_parquet("artifacts/split/train.parquet"), valid])
    # what was shown is context all the same
    assert len(own.histories.items) == known.filter(pl.col("user_id").is_in(remaining.implode())).height


def test_a_second_run_writes_the_same_bytes(project: Path) -> None:
    def written() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in Path("artifacts/models").rglob("*.*")}

    main("sasrec")
    first = written()
    main("sasrec")
    assert written() == first


def test_without_validation_there_is_no_value(project: Path) -> None:
    empty = Path("artifacts/split/valid.parquet")
    write_parquet(pl.read_parquet(empty).clear(), empty)
    main("als")
    assert pl.read_csv("artifacts/curves/validation/als.csv")["ndcg@10"].null_count() == 3


def bundled(name: str) -> str:
    """Make a bundle of the trained model; its id is what `train` finds when told to begin with it."""
    model, items = load(Path("artifacts/models") / name)
    events = pl.read_parquet("artifacts/split/train.parquet")
    made = write_bundle(Path("artifacts/made"), trained=Trained(model=model, vocabulary=items), interactions=events)
    copy(Path("artifacts/made"), Path("artifacts/bundles") / made["id"])
    return made["id"]


def begin_with(**ids: str | None) -> None:
    write_json(ids, Path("artifacts/pretrained.json"))


def test_a_model_begins_with_the_bundle_that_it_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def losses() -> list[float]:
        return pl.read_csv("artifacts/curves/loss/als.csv")["loss"].to_list()

    main("als")
    fresh, first = losses(), read_json(Path("artifacts/models/als/model.json"))
    assert first["began_with"] is None
    assert "begun with" not in capsys.readouterr().out
    bundle = bundled("als")
    begin_with(als=bundle)
    main("als")
    assert losses()[0] < fresh[1]
    second = read_json(Path("artifacts/models/als/model.json"))
    validated = pl.read_csv("artifacts/curves/validation/als.csv")["ndcg@10"]
    assert second == first | {"began_with": bundle, "passes": (validated.arg_max() or 0) + 1}
    assert f"20 items, begun with {bundle} in 3 passes" in capsys.readouterr().out


def test_a_bundle_that_is_gone_is_named(project: Path) -> None:
    begin_with(als="cafe")
    with pytest.raises(BundleError) as caught:
        main("als")
    assert str(caught.value) == (
        "artifacts/bundles/cafe, which als is to begin with, does not exist; run 'dvc repro --single-item --force "
        "pretrained' to choose again what models begin with."
    )


def test_a_model_that_names_what_it_begins_with_reads_that_alone(project: Path) -> None:
    own = json.loads(json.dumps(quick("transfer_sequence")))
    (project / "params.yaml").write_text(yaml.safe_dump({"train": {"transfer_sequence": own}}), encoding="utf-8")
    main("transfer_sequence")
    shutil.copytree("artifacts/models/transfer_sequence", "pretrained/own")
    own["pretrained"] = "pretrained/own"
    (project / "params.yaml").write_text(yaml.safe_dump({"train": {"transfer_sequence": own}}), encoding="utf-8")
    begin_with(transfer_sequence="cafe")
    main("transfer_sequence")
    assert read_json(Path("artifacts/models/transfer_sequence/model.json"))["began_with"] == "cafe"


def test_what_began_with_another_model_is_not_gone_on_with(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validated, asked = loop.validate, []

    def validate(*given: object) -> float:
        asked.append(given)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return validated(*given)

    def passes(begun: str | None) -> int:
        """How many passes are made when the model begins with another one of this id."""
        begin_with(sasrec=None, als=begun)
        asked.extend([None] * 3)
        before = len(asked)
        main("als")
        return len(asked) - before

    main("als")
    first = bundled("als")
    begin_with(als=first)
    main("als")
    second = bundled("als")
    assert first != second
    monkeypatch.setattr(loop, "validate", validate)
    with pytest.raises(KeyboardInterrupt):
        main("als")
    assert passes(second) == 3
    assert passes(None) == 3
    assert passes(first) == 2
    assert passes(first) == 3


def stage(project: Path, name: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "pipelines.train", name]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_an_unknown_model_ends_with_one_sentence(project: Path) -> None:
    ended = stage(project, "bert")
    assert ended.returncode == 2
    assert ended.stderr == f"error: There is no model 'bert'; choose from: {', '.join(models.names())}.\n"
    assert not (project / "artifacts" / "models").exists()


def test_a_wrong_parameter_ends_with_one_sentence(project: Path) -> None:
    (project / "params.yaml").write_text("train: {ease: {regularization: -1}}", encoding="utf-8")
    ended = stage(project, "ease")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: params.yaml: train.ease.regularization is -1, but input should be greater")
    assert "Traceback" not in ended.stderr


def test_a_missing_split_ends_with_one_sentence(project: Path) -> None:
    (project / "artifacts" / "split" / "valid.parquet").unlink()
    ended = stage(project, "popularity")
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: artifacts/split/valid.parquet does not exist; run the step that writes it, or correct the path.\n"
    )


def test_private_training_says_what_it_cost(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"dim": 4, "batch_size": 30, "epochs": 2}
    params = {"train": {"models": ["multdae"], "multdae": own, "privacy": {"epsilon": 2.0, "delta": 0.01}}}
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    main("multdae")
    cost = read_json(Path("artifacts/models/multdae/model.json"))["privacy"]
    assert 1.9 < cost["epsilon"] <= 2.0
    assert (cost["steps"], cost["people"], cost["unit"]) == (2, 30, "user")
    assert f", epsilon {cost['epsilon']:.3g} at delta 0.01 for each person" in capsys.readouterr().out
    assert pl.read_csv("artifacts/curves/validation/multdae.csv")["ndcg@10"].null_count() == 2


def test_no_model_is_trained_where_one_of_the_field_cannot_be_private(project: Path) -> None:
    params = {"train": {"models": ["multdae", "als"], "privacy": {"epsilon": 2.0}}}
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for name in ("multdae", "als"):
        with pytest.raises(ConfigError, match=r"^params\.yaml: train\.privacy cannot be kept by als: "):
            main(name)
    assert not Path("artifacts/models").exists()
