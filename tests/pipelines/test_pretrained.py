import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import pretrained
from recloop.errors import ConfigError
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
