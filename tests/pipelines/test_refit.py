from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml

from pipelines import refit
from recloop.data.splits import SplitConfig, split
from recloop.data.tables import Attributes, read_json, write_json, write_parquet
from recloop.data.vocabulary import Vocabulary
from recloop.models import find, storage
from recloop.models.base import FitContext, Model, TrainingData
from recloop.models.popularity import Popularity
from recloop.training.config import EarlyStopping, TrainConfig
from recloop.training.loop import train
from tests.support.bundles import world

EVENTS = world()
PARTS = split(EVENTS, SplitConfig())
OWN = {"als": {"factors": 4, "iterations": 9}, "popularity": {}, "ease": {}}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has trained `als` in three of its nine passes, and whose gate promotes it."""
    monkeypatch.chdir(tmp_path)
    write_parquet(EVENTS, refit.CLEAN / "interactions.parquet")
    params(refit=True)
    decide("als")
    evaluated = fitted("als", PARTS.train, passes=3)
    storage.save(evaluated, refit.ARTIFACTS / "models/als")
    return tmp_path


def params(**training: Any) -> None:
    values = {"train": {"models": ["als"], "seed": 5, "device": "cpu"} | OWN | training}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def decide(winner: str | None) -> None:
    write_json({"winner": winner}, refit.DECISION)


def fitted(name: str, events: pl.DataFrame, *, passes: int | None) -> storage.Trained:
    kind = find(name)
    items = Vocabulary(events["item_id"])
    model: Model = kind(kind.Config.model_validate(OWN[name]), len(items))
    data = TrainingData.from_tables(events, items, Attributes())
    how = TrainConfig(early_stopping=EarlyStopping(patience=None))
    train(model, data, how, FitContext(device=torch.device("cpu"), seed=5), passes=passes)
    return storage.Trained(model=model, vocabulary=items, seed=5, passes=passes)


def equal(one: Model, other: Model) -> bool:
    tensors = other.tensors()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in one.tensors().items())


def test_the_winner_learns_all_events_in_as_many_passes(capsys: pytest.CaptureFixture[str]) -> None:
    refit.main()
    found = storage.read(refit.REFIT)
    assert set(found.vocabulary.ids) == set(EVENTS["item_id"])
    assert (found.seed, found.passes) == (5, 3)
    assert equal(found.model, fitted("als", EVENTS, passes=3).model)
    assert not equal(found.model, fitted("als", EVENTS, passes=9).model)
    assert capsys.readouterr().out == "refit: als trained on all 700 events in 3 passes\n"


def test_a_baseline_that_was_not_trained_is_fitted_to_all_events() -> None:
    decide("popularity")
    left = fitted("popularity", PARTS.train, passes=None)
    storage.save(replace(left, seed=9, began_with="cafe"), refit.ARTIFACTS / "models/popularity")  # by an earlier run
    refit.main()
    found = storage.read(refit.REFIT)
    assert isinstance(found.model, Popularity)
    assert equal(found.model, fitted("popularity", EVENTS, passes=None).model)


@pytest.mark.parametrize(
    ("wanted", "winner", "why"),
    [
        (False, "als", "the weights that were evaluated are to serve"),
        (True, None, "the champion stays"),
    ],
)
def test_else_there_is_a_note_and_no_model(
    wanted: bool,  # noqa: FBT001 - a case
    winner: str | None,
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refit.main()
    params(refit=wanted)
    decide(winner)
    refit.main()
    assert [path.name for path in refit.REFIT.iterdir()] == ["refit.json"]
    assert read_json(refit.REFIT / "refit.json") == {"model": None, "why": why}
    assert capsys.readouterr().out.endswith(f"refit: none, {why}\n")


def test_no_checkpoint_is_left() -> None:
    refit.main()
    assert not list((refit.ARTIFACTS / "checkpoints").rglob("*.safetensors"))
