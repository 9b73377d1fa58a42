import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipelines import pretrained
from recloop.data.bundles import copy
from recloop.data.splits import SplitConfig, split
from recloop.data.tables import Attributes, read_json, read_parquet, write_json, write_parquet
from recloop.errors import ConfigError
from recloop.evaluation.contenders import fit
from recloop.models import storage
from recloop.models.storage import Trained
from recloop.serving.bundle import write_bundle
from tests.support.bundles import world
from tests.support.project import SMALL, make


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    books = tmp_path / "pretrained/books"
    books.mkdir(parents=True)
    (books / "model.json").write_text("{}")
    return tmp_path


def ids(train: Any) -> dict[str, str | None]:
    Path("params.yaml").write_text(yaml.safe_dump({"train": train}))
    pretrained.main()
    return json.loads(Path("artifacts/pretrained.json").read_text())


def test_every_model_has_an_id_or_null(capsys: pytest.CaptureFixture[str]) -> None:
    assert ids({"models": ["ease", "sasrec"], "sasrec": {}, "seed": 0}) == {"ease": None, "sasrec": None}
    assert capsys.readouterr().out == ""
    found = ids({"models": ["ease"], "transfer_sequence": {"pretrained": "pretrained/books"}})
    assert found.keys() == {"ease", "transfer_sequence"}
    assert found["transfer_sequence"]
    assert capsys.readouterr().out == f"transfer_sequence: begins with {found['transfer_sequence']}\n"


def test_the_id_follows_the_content_and_not_the_name() -> None:
    train = {"models": [], "transfer_sequence": {"pretrained": "pretrained/books"}}
    before = ids(train)
    shutil.copytree("pretrained/books", "pretrained/other")
    assert ids(train | {"transfer_sequence": {"pretrained": "pretrained/other"}}) == before
    Path("pretrained/books/model.json").write_text("{ }")
    assert ids(train) != before


@pytest.mark.parametrize("train", [None, {}, {"models": "ease"}, {"models": None, "ease": None}])
def test_what_the_stage_train_would_refuse_is_left_to_it(train: Any) -> None:
    assert ids(train) == {}


@pytest.mark.parametrize("named", ["../books/artifacts/models/books", "books", "pretrained/linked/books"])
def test_what_dvc_does_not_watch_is_refused(project: Path, named: str) -> None:
    (project / "elsewhere/books").mkdir(parents=True)
    (project / "pretrained/linked").symlink_to(project / "elsewhere")
    with pytest.raises(ConfigError) as caught:
        ids({"models": [], "transfer_sequence": {"pretrained": named}})
    assert str(caught.value) == (
        f"params.yaml: train.transfer_sequence.pretrained is '{named}', but must lie in the folder pretrained, which "
        "is the one that DVC watches; copy the model to pretrained/books and name that."
    )


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        ids({"models": [], "transfer_sequence": {"pretrained": "pretrained/gone"}})
    assert str(caught.value) == (
        "params.yaml: train.transfer_sequence.pretrained is 'pretrained/gone', which does not exist; copy the folder "
        "of a trained model there."
    )


OWN = {"factors": 4, "iterations": 1}
WARM = {"models": ["ease", "als"], "warm_start": "champion", "als": OWN}


@pytest.fixture
def champion(project: Path) -> str:
    """An als model that was trained on the training part of small data is in charge; returns the id of its bundle."""
    events = world()
    parts = split(events, SplitConfig())
    write_parquet(events, pretrained.INTERACTIONS)
    write_json(parts.summary, pretrained.SPLIT)
    model, items = fit("als", OWN, parts.train, Attributes(), device=torch.device("cpu"))
    record = {"data": {"train_window": parts.summary["train_window"]}, "params": {}}
    made = write_bundle(
        Path("made"), trained=Trained(model=model, vocabulary=items), interactions=events, record=record
    )
    copy(Path("made"), pretrained.BUNDLES / made["id"])
    write_json({"bundle": made["id"], "model": "als"}, pretrained.POINTER)
    return made["id"]


def test_the_model_of_the_champion_begins_with_it(champion: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ids(WARM) == {"ease": None, "als": champion}
    assert capsys.readouterr().out == f"als: begins with {champion}\n"
    assert ids(WARM | {"als": OWN | {"solver": "cg"}}) == {"ease": None, "als": champion}
    assert ids(WARM | {"models": ["ease"], "als": None}) == {"ease": None}


@pytest.mark.parametrize("train", [{"warm_start": None}, {"warm_start": "never"}])
def test_without_a_warm_start_nothing_does(champion: str, train: dict[str, Any]) -> None:
    assert ids(WARM | train) == {"ease": None, "als": None}


def test_without_a_champion_nothing_does() -> None:
    assert ids(WARM) == {"ease": None, "als": None}


def test_a_champion_that_is_no_beginning_is_said_to_be_none(champion: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ids(WARM | {"als": {"factors": 5}}) == {"ease": None, "als": None}
    assert capsys.readouterr().out == (f"als: does not begin with the champion {champion}: its parameters are others\n")


def test_a_model_that_names_what_it_begins_with_does_not_begin_with_the_champion(champion: str) -> None:
    write_json({"bundle": champion, "model": "transfer_sequence"}, pretrained.POINTER)
    own = {"transfer_sequence": {"pretrained": "pretrained/books"}}
    assert ids({"models": [], "warm_start": "champion"} | own) == ids({"models": []} | own)


@pytest.mark.slow
@pytest.mark.integration
def test_dvc_trains_anew_what_began_with_what_has_changed(project: Path) -> None:
    tiny = {"dim": 8, "heads": 1, "layers": 1, "max_length": 10, "epochs": 1}
    train = SMALL["train"] | {"models": ["popularity", "transfer_sequence"], "transfer_sequence": tiny}
    scratch = make(project / "scratch", SMALL | {"train": train})
    scratch.recloop("ingest")

    def trained() -> dict[str, bool]:
        """Which models `dvc repro` trains."""
        said = scratch.dvc("repro", "train").stdout
        return {name: f"Running stage 'train@{name}'" in said for name in train["models"]}

    assert trained() == {"popularity": True, "transfer_sequence": True}
    model, books = scratch.root / "artifacts/models/transfer_sequence", scratch.root / "pretrained/books"
    shutil.copytree(model, books)
    assert trained() == {"popularity": False, "transfer_sequence": False}
    tuned = train | {"transfer_sequence": tiny | {"pretrained": "pretrained/books"}}
    scratch.change({"train": tuned})
    assert trained() == {"popularity": False, "transfer_sequence": True}
    weights = (model / "weights.safetensors").read_bytes()
    assert trained() == {"popularity": False, "transfer_sequence": False}
    shutil.rmtree(books)
    shutil.copytree(model, books)
    assert trained() == {"popularity": False, "transfer_sequence": True}
    assert (model / "weights.safetensors").read_bytes() != weights


@pytest.mark.slow
@pytest.mark.integration
def test_dvc_trains_anew_what_begins_with_the_champion_and_only_when_the_champion_is_read(project: Path) -> None:
    models = ["popularity", "als"]
    train = SMALL["train"] | {"models": models, "warm_start": "champion"}
    scratch = make(project / "scratch", SMALL | {"train": train})
    scratch.recloop("ingest")
    artifacts = scratch.root / "artifacts"
    als = artifacts / "models/als"

    def trained() -> set[str]:
        """Which models `dvc repro` trains."""
        said = scratch.dvc("repro", "train").stdout
        return {name for name in models if f"Running stage 'train@{name}'" in said}

    def began_with() -> str | None:
        return read_json(als / storage.DESCRIPTION)["began_with"]

    def promote() -> str:
        """Put als in charge."""
        model, items = storage.load(als)
        record = {"data": {"train_window": read_json(artifacts / "split/split.json")["train_window"]}, "params": {}}
        events = read_parquet(artifacts / "clean/interactions.parquet")
        made = write_bundle(
            scratch.root / "made", trained=Trained(model=model, vocabulary=items), interactions=events, record=record
        )
        copy(scratch.root / "made", artifacts / "bundles" / made["id"])
        write_json({"bundle": made["id"], "model": "als"}, artifacts / "champion/champion.json")
        return made["id"]

    assert trained() == {"popularity", "als"}
    assert began_with() is None
    champion = promote()
    assert trained() == set()
    scratch.dvc("repro", "--single-item", "--force", "pretrained")
    assert trained() == {"als"}
    assert began_with() == champion
    weights = (als / storage.WEIGHTS).read_bytes()
    assert promote() != champion
    scratch.dvc("repro", "--single-item", "--force", "train@als")
    assert began_with() == champion
    assert (als / storage.WEIGHTS).read_bytes() == weights


def test_a_private_model_begins_with_a_private_champion_alone(
    champion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ids(WARM | {"privacy": {"epsilon": 1.0}})["als"] is None
    assert (
        capsys.readouterr().out == f"als: does not begin with the champion {champion}: it was trained without privacy\n"
    )
