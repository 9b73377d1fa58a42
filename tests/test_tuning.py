"""The search on a small split: real studies in SQLite, real training, and no look at the test part."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from recloop.data.splits import SplitConfig, split
from recloop.data.tables import TIMESTAMP, canonical_interactions, write_json, write_parquet
from recloop.errors import ConfigError, ModelError
from recloop.tuning import FOLDER, tune
from tests.support.planted import planted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `split` has run, without a test part: a search that reads it fails."""
    histories = planted()
    order = np.random.default_rng(0).permutation(sum(map(len, histories)))
    rows = [(f"u{user:03}", f"i{item:02}") for user, history in enumerate(histories) for item in history]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    times = pl.Series("timestamp", np.argsort(order) * 1_000_000).cast(TIMESTAMP)
    parts = split(canonical_interactions(frame.with_columns(times), "test"), SplitConfig(valid_fraction=0.2))
    root = tmp_path_factory.mktemp("tuning")
    for name in ("train", "valid"):
        write_parquet(getattr(parts, name), root / "artifacts/split" / f"{name}.parquet")
    write_json(parts.summary, root / "artifacts/split/split.json")
    return root


def params(root: Path, **train: Any) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump({"train": {"device": "cpu", **train}}), encoding="utf-8")


def test_the_best_is_found_written_and_kept(made: Path):
    params(made, ease={"regularization": 5000.0, "precision": "float32"})
    said: list[str] = []
    found = tune(made, "ease", trials=8, tell=said.append)
    assert found.trials == 8
    assert found.first is not None
    assert found.value > found.first
    written = yaml.safe_load((made / "params.yaml").read_text())["train"]["ease"]
    assert written == {"precision": "float32", **found.parameters}
    assert said == [f"params.yaml: train.ease.regularization: 5000.0 -> {found.parameters['regularization']}"]
    folder = made / FOLDER / "ease"
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert float(rows[0]["regularization"]) == 5000.0
    assert float(rows[0]["ndcg@10"]) == pytest.approx(found.first)
    assert max(float(row["ndcg@10"]) for row in rows) == pytest.approx(found.value)
    best = json.loads((folder / "best.json").read_text())
    assert best["parameters"] == found.parameters
    assert "Optimization History" in (folder / "history.html").read_text()


def test_of_a_model_of_ratings_the_smallest_error_is_best(made: Path, tmp_path: Path):
    shutil.copytree(made / "artifacts/split", tmp_path / "artifacts/split")
    for part in ("train", "valid"):
        path = tmp_path / "artifacts/split" / f"{part}.parquet"
        stars = pl.col("item_id").str.slice(1).cast(pl.Int32) % 5 + 1
        write_parquet(pl.read_parquet(path).with_columns(value=stars.cast(pl.Float32)), path)
    params(tmp_path, mf={"factors": 4, "iterations": 4, "regularization": 50.0})
    found = tune(tmp_path, "mf", trials=6)
    assert (found.metric, found.trials) == ("rmse", 6)
    assert found.first is not None
    assert found.value < found.first
    rows = list(csv.DictReader((tmp_path / FOLDER / "mf/trials.csv").open()))
    assert min(float(row["rmse"]) for row in rows if row["rmse"]) == pytest.approx(found.value)


def test_a_study_goes_on_where_it_was_and_a_new_question_is_a_new_study(made: Path):
    params(made, ease={"regularization": 77.0})
    assert tune(made, "ease", trials=2, write=False).trials == 2
    assert tune(made, "ease", trials=3, write=False).trials == 3
    assert tune(made, "ease", trials=3, write=False).changes == {}
    params(made, ease={"regularization": 77.0}, seed=5)
    assert tune(made, "ease", trials=1, write=False).trials == 1


def test_equal_seeds_propose_equal_values(made: Path, tmp_path: Path):
    params(made, ease={"regularization": 50.0}, seed=9)
    found = [
        tune(made, "ease", trials=6, write=False, storage=f"sqlite:///{tmp_path}/{n}.sqlite").parameters for n in "ab"
    ]
    assert found[0] == found[1]


def test_trials_that_fall_behind_are_given_up(made: Path):
    params(made, sasrec={"dim": 8, "layers": 1, "heads": 1, "epochs": 6, "max_length": 6, "batch_size": 16})
    tune(made, "sasrec", trials=12, write=False)
    states = [row["state"] for row in csv.DictReader((made / FOLDER / "sasrec/trials.csv").open())]
    assert "pruned" in states
    assert set(states) <= {"pruned", "complete"}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("netflix", {}, "There is no model 'netflix'; choose from: "),
        ("popularity", {}, "popularity declares no parameters to search; tune another model."),
        ("ease", {"storage": "sqlite:////nowhere/at/all.sqlite"}, "The studies at sqlite:////nowhere/at/all.sqlite"),
        ("ease", {"storage": "files"}, "The studies at files cannot be reached ("),
    ],
)
def test_mistakes_are_one_sentence(made: Path, name: str, options: dict[str, Any], sentence: str):
    params(made)
    with pytest.raises((ConfigError, ModelError)) as caught:
        tune(made, name, **options)
    assert str(caught.value).startswith(sentence)


def test_a_password_is_not_shown(made: Path):
    params(made)
    with pytest.raises(ConfigError) as caught:
        tune(made, "ease", storage="postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith("The studies at postgresql+psycopg://me:***@127.0.0.1:1/x cannot be reached (")


def test_a_model_whose_needs_are_not_met_is_refused_before_any_trial(made: Path, tmp_path: Path):
    params(made)
    storage = tmp_path / "studies.sqlite"
    with pytest.raises(ModelError, match=r"^kgcn needs triples about items of the catalogue; add it to the table"):
        tune(made, "kgcn", storage=f"sqlite:///{storage}")
    assert not storage.exists()


@pytest.mark.integration
def test_a_study_in_postgresql_goes_on_where_it_was(made: Path, postgres_url: str):
    params(made, ease={"regularization": 33.0})
    assert tune(made, "ease", trials=2, write=False, storage=postgres_url).trials == 2
    found = tune(made, "ease", trials=4, write=False, storage=postgres_url)
    assert found.trials == 4
    assert found.first is not None
    assert found.value >= found.first


def test_privacy_is_not_tuned_on_the_people_it_protects(made: Path):
    params(made, models=["multdae"], privacy={"epsilon": 4})
    with pytest.raises(ConfigError) as caught:
        tune(made, "multdae")
    assert str(caught.value) == (
        "The search for parameters of multdae compares trials by what people did, which train.privacy does not account "
        "for; set train.privacy to null while you tune, on data of people who agreed."
    )
