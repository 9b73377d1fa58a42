import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pipelines import evaluate, run
from recloop.columns import TIME, USER
from recloop.data.sequences import Contexts
from recloop.data.tables import read_parquet
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ConfigError, DataError, ModelError
from recloop.models import storage
from recloop.retrieval.exact import rank
from tests.support.trained import Trained


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    monkeypatch.chdir(tmp_path)
    project = Trained(tmp_path)
    project.train("popularity", "ease")
    return project


def test_every_output_is_written(project: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main("ease")
    folder = project.root / "artifacts/evaluation/ease"
    record = json.loads((folder / "metrics.json").read_text())
    users = read_parquet(folder / "users.parquet")
    assert record["model"] == "ease"
    assert record["users"] == users.height
    assert record["metrics"]["ndcg@10"] == pytest.approx(users["ndcg@10"].mean())
    assert users.columns[0] == "user_id"
    assert users.columns[-1] == "examples"
    assert users["examples"].sum() == record["examples"]
    timings = json.loads((project.root / "artifacts/timings/ease.json").read_text())
    assert timings["latency_ms"]["mean"] > 0
    assert timings["evaluate_seconds"] > 0
    assert capsys.readouterr().out.startswith("ease: ndcg@10 0.")


def test_the_same_again_gives_the_same_bytes(project: Trained) -> None:
    folder = project.root / "artifacts/evaluation/ease"
    evaluate.main("ease")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    evaluate.main("ease")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"metrics.json", "users.parquet", "slates.parquet"}


def test_slates_can_be_rebuilt_from_the_clean_data(project: Trained) -> None:
    evaluate.main("ease")
    slates = read_parquet(project.root / "artifacts/evaluation/ease/slates.parquet")
    clean = read_parquet(project.root / "artifacts/clean/interactions.parquet")
    model, catalogue = storage.load(project.root / "artifacts/models/ease", torch.device("cpu"))
    assert slates.height > 20
    for row in slates.iter_rows(named=True):
        before = clean.filter((pl.col(USER) == row["user_id"]) & (pl.col(TIME) < row["timestamp"]))
        context = Contexts.from_frame(before, Vocabulary([row["user_id"]]), catalogue)
        again = rank(model, context, 10)
        kept = again.items[0] >= 0
        assert catalogue.decode(again.items[0][kept]) == row["items"]
        assert np.allclose(again.scores[0][kept], row["scores"], rtol=1e-5, atol=1e-6)


def test_categories_make_diversity_defined(project: Trained) -> None:
    evaluate.main("popularity")
    metrics = project.root / "artifacts/evaluation/popularity/metrics.json"
    assert "diversity@10" not in json.loads(metrics.read_text())["metrics"]
    project.add_categories()
    evaluate.main("popularity")
    assert 0 < json.loads(metrics.read_text())["metrics"]["diversity@10"] < 1


def test_a_sample_is_declared(project: Trained) -> None:
    project.params(evaluate={"max_examples": 30})
    evaluate.main("popularity")
    record = json.loads((project.root / "artifacts/evaluation/popularity/metrics.json").read_text())
    assert record["sampled"] is True
    assert record["examples"] <= 30 < record["examples_available"]


def test_an_unknown_metric_is_one_sentence_and_status_2(
    project: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.params(evaluate={"metrics": ["ndgc@10"]})
    monkeypatch.setattr("sys.argv", ["evaluate", "ease"])
    with pytest.raises(SystemExit) as ended:
        run(evaluate.main)
    assert ended.value.code == 2
    assert "There is no metric 'ndgc'; choose from: " in capsys.readouterr().err
    assert not (project.root / "artifacts/evaluation").exists()


def test_a_parameter_of_the_wrong_type_is_named(project: Trained) -> None:
    project.params(evaluate={"k": "many"})
    with pytest.raises(ConfigError, match=r"params.yaml: evaluate.k is 'many', but .*; correct the value."):
        evaluate.main("ease")


def test_a_model_that_was_not_trained_is_named(project: Trained) -> None:
    with pytest.raises(ModelError, match=r"artifacts/models/als/model.json does not exist; train the model"):
        evaluate.main("als")


def test_a_truncated_test_part_is_named(project: Trained) -> None:
    path = project.root / "artifacts/split/test.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"artifacts/split/test.parquet is not a readable Parquet file"):
        evaluate.main("ease")
