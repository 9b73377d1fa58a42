import json
from pathlib import Path

import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ModelError
from recloop.models import storage
from recloop.models.base import FitContext, Model, TrainingData
from recloop.models.popularity import Popularity, PopularityConfig
from recloop.models.storage import EVALUATED, Trained, evaluated, load, save, write


def popularity(*histories: list[int]) -> Model:
    model = Popularity(PopularityConfig(half_life_days=2), 3)
    model.fit(TrainingData(histories=Contexts.from_lists(histories), n_items=3), FitContext(device=torch.device("cpu")))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(
        Trained(model=popularity([0, 1], [1]), vocabulary=Vocabulary(["a", "b", "c"]), seed=5),
        tmp_path / "models" / "popularity",
    )
    return tmp_path / "models" / "popularity"


def test_a_second_model_in_the_folder_has_a_prefix(folder: Path) -> None:
    assert evaluated(folder).vocabulary.ids.to_list() == ["a", "b", "c"]
    write(Trained(model=popularity([1]), vocabulary=Vocabulary(["d", "e", "f"]), seed=6, passes=3), folder, EVALUATED)
    other = evaluated(folder)
    assert other.vocabulary.ids.to_list() == ["d", "e", "f"]
    assert (other.seed, other.passes) == (6, 3)
    assert load(folder)[1].ids.to_list() == ["a", "b", "c"]
    (folder / "evaluated-weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"evaluated-weights\.safetensors does not exist"):
        evaluated(folder)


def test_the_folder_describes_the_model(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "vocabulary.parquet", "weights.safetensors"]
    assert json.loads((folder / "model.json").read_text(encoding="utf-8")) == {
        "model": "popularity",
        "config": {"half_life_days": 2.0},
        "n_items": 3,
        "seed": 5,
        "began_with": None,
        "passes": None,
        "privacy": None,
    }
    model, vocabulary = load(folder)
    assert model.config == PopularityConfig(half_life_days=2)
    assert vocabulary.ids.to_list() == ["a", "b", "c"]


def test_a_second_save_replaces_the_first_and_leaves_nothing_beside_it(folder: Path) -> None:
    save(Trained(model=popularity([2]), vocabulary=Vocabulary(["d", "e", "f"])), folder)
    model, vocabulary = load(folder)
    assert model.score(Contexts.from_lists([[]])).tolist() == [[0, 0, 1]]
    assert vocabulary.ids.to_list() == ["d", "e", "f"]
    assert [path.name for path in folder.parent.iterdir()] == ["popularity"]


def test_equal_models_are_stored_as_equal_bytes(folder: Path, tmp_path: Path) -> None:
    save(Trained(model=popularity([0, 1], [1]), vocabulary=Vocabulary(["a", "b", "c"]), seed=5), tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_save_that_fails_keeps_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(storage, "write_json", fail)
    with pytest.raises(OSError, match="no space"):
        save(Trained(model=popularity([2]), vocabulary=Vocabulary(["d", "e", "f"])), folder)
    assert load(folder)[1].ids.to_list() == ["a", "b", "c"]
    assert [path.name for path in folder.parent.iterdir()] == ["popularity"]


@pytest.mark.parametrize("name", ["model.json", "vocabulary.parquet", "weights.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError) as error:
        load(folder)
    assert str(error.value) == f"{folder / name} does not exist; train the model, or correct the folder."


@pytest.mark.parametrize("name", ["model.json", "vocabulary.parquet", "weights.safetensors"])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(ModelError) as error:
        load(folder)
    assert str(error.value).startswith(f"{folder / name} is damaged (")
    assert str(error.value).endswith("; train the model again.")


@pytest.mark.parametrize("text", ["[]", "{}", '{"model": "popularity"}', "null"])
def test_a_description_of_another_form_is_damaged(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"model\.json is damaged"):
        load(folder)


def test_a_vocabulary_of_another_size_is_refused(folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text(encoding="utf-8")) | {"n_items": 4}
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ModelError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder / 'vocabulary.parquet'} holds 3 items, but model.json says 4; train the model again."
    )


def test_weights_of_another_catalogue_are_refused(folder: Path, tmp_path: Path) -> None:
    other = Popularity(PopularityConfig(), 2)
    other.load_tensors({"counts": torch.ones(2)})
    save(Trained(model=other, vocabulary=Vocabulary(["a", "b"])), tmp_path / "other")
    (tmp_path / "other" / "weights.safetensors").replace(folder / "weights.safetensors")
    with pytest.raises(ModelError, match=r"weights.safetensors is damaged .* has shape \(2,\), not \(3,\)"):
        load(folder)


def test_an_unknown_parameter_in_the_description_is_named(folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text(encoding="utf-8")) | {"config": {"halflife": 2}}
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.halflife is not a known parameter"):
        load(folder)
