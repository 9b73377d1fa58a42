import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file, save_file

from recloop.data.bundles import MANIFEST, describe, identify
from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.errors import BundleError
from recloop.models import Model, find
from recloop.models.base import FitContext, TrainingData
from recloop.models.storage import Trained
from recloop.serving import bundle as module
from recloop.serving.bundle import Bundle, write_bundle
from tests.support.bundles import train, world

ITEMS = pl.DataFrame({"item_id": ["item-3", "item-1", "not-in-it"], "title": ["Three", "One", "Other"]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle")


def write(folder: Path, interactions: pl.DataFrame | None = None) -> Path:
    trained = world()
    model, vocabulary = train("ease", trained)
    write_bundle(
        folder,
        trained=Trained(model=model, vocabulary=vocabulary, seed=3),
        interactions=trained if interactions is None else interactions,
        items=ITEMS,
        record={"git_revision": "abc", "id": "overruled"},
    )
    return folder


def test_a_bundle_comes_back_as_it_was_written(folder: Path) -> None:
    model, vocabulary = train("ease", world())
    loaded = Bundle.load(folder)
    assert loaded.vocabulary == vocabulary
    contexts = Contexts.from_lists([[1, 4], [], [2]])
    assert torch.equal(loaded.model.score(contexts), model.score(contexts))
    assert loaded.manifest["git_revision"] == "abc"
    assert (loaded.manifest["model"], loaded.manifest["seed"]) == ("ease", 3)
    assert (loaded.manifest["n_items"], loaded.manifest["n_users"]) == (len(vocabulary), 37)
    assert loaded.id == identify(describe(folder))
    assert {"recloop", "torch"} <= loaded.manifest["libraries"].keys()
    assert "+" not in loaded.manifest["libraries"]["torch"]


def test_items_have_one_row_each_in_the_order_of_the_catalogue(folder: Path) -> None:
    loaded = Bundle.load(folder)
    assert loaded.items["item_id"].to_list() == loaded.vocabulary.ids.to_list()
    assert dict(loaded.items.drop_nulls().iter_rows()) == {"item-1": "One", "item-3": "Three"}


def test_histories_are_whole_and_hold_only_the_catalogue(tmp_path: Path) -> None:
    later = pl.DataFrame(
        {
            "user_id": ["newcomer", "newcomer", "stranger"],
            "item_id": ["item-4", "unheard-of", "unheard-of"],
            "timestamp": pl.Series([9_000_000, 9_000_001, 9_000_002]).cast(pl.Datetime("us", "UTC")),
            "event": "rating",
            "value": pl.Series([4.0, 1.0, 1.0], dtype=pl.Float32),
        }
    )
    loaded = Bundle.load(write(tmp_path / "bundle", pl.concat([world(), later])))
    assert len(loaded.users) == 39
    newcomer = loaded.histories.take(np.array([loaded.users.index("newcomer")]))
    assert loaded.vocabulary.decode(newcomer.items) == ["item-4"]
    assert (newcomer.timestamps.tolist(), newcomer.values.tolist()) == ([9_000_000], [4.0])
    assert loaded.histories.lengths[loaded.users.index("stranger")] == 0


def test_equal_inputs_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again")
    assert describe(again) == describe(folder)
    assert (again / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()


def test_the_folder_holds_tensors_tables_and_json_only(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "histories.safetensors",
        "items.parquet",
        "manifest.json",
        "model.json",
        "users.parquet",
        "vocabulary.parquet",
        "weights.safetensors",
    ]


def test_an_error_while_writing_leaves_the_old_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / MANIFEST).read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        write(folder, world().head(50))
    assert (folder / MANIFEST).read_bytes() == before
    Bundle.load(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["weights.safetensors", "histories.safetensors", "users.parquet", "items.parquet"])
def test_a_truncated_file_is_refused_by_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=f"'{name}' has {len(content) // 2} bytes where the manifest says"):
        Bundle.load(folder)


def test_a_newer_format_is_refused_with_the_version_it_needs(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["format"], manifest["libraries"]["recloop"] = 2, "0.9.0"
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"has format 2, .* use recloop 0\.9\.0 or newer\."):
        Bundle.load(folder)


def sealed(folder: Path) -> None:
    """Make the manifest agree with whatever the folder now holds."""
    manifest = json.loads((folder / MANIFEST).read_text())
    files = describe(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest | {"files": files, "id": identify(files)}))


@pytest.mark.parametrize("name", ["histories.safetensors", "users.parquet", "items.parquet", "model.json"])
def test_a_bundle_that_never_had_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    sealed(folder)
    with pytest.raises(BundleError, match=name):
        Bundle.load(folder)


def test_files_of_different_bundles_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", world(users=11))
    (folder / "users.parquet").write_bytes((other / "users.parquet").read_bytes())
    sealed(folder)
    with pytest.raises(BundleError, match="its users, histories and items do not belong together; package it again"):
        Bundle.load(folder)


def test_a_histories_file_with_half_of_the_features_is_refused(folder: Path) -> None:
    arrays = load_file(folder / "histories.safetensors")
    save_file(arrays | {"features.offsets": arrays["offsets"]}, folder / "histories.safetensors")
    sealed(folder)
    with pytest.raises(BundleError, match=r"is not complete .*; package it again"):
        Bundle.load(folder)


PEOPLE = pl.DataFrame(
    {"user_id": [f"user-{number}" for number in range(36)] + ["elsewhere"], "taste": ["even", "odd"] * 18 + ["even"]}
)


def segments() -> tuple[Model, Vocabulary]:
    interactions = world()
    vocabulary = Vocabulary(interactions["item_id"])
    kind = find("segment_popularity")
    model = kind(kind.Config.model_validate({"segments": 2}), len(vocabulary))
    model.fit(
        TrainingData.from_tables(interactions, vocabulary, Attributes(users=PEOPLE)),
        FitContext(device=torch.device("cpu")),
    )
    return model, vocabulary


def test_features_of_the_known_people_are_kept_for_a_model_that_looks_at_them(tmp_path: Path) -> None:
    model, vocabulary = segments()
    folder = tmp_path / "bundle"
    write_bundle(folder, trained=Trained(model=model, vocabulary=vocabulary), interactions=world(), people=PEOPLE)
    loaded = Bundle.load(folder)
    found = loaded.histories.features
    assert found is not None
    tastes = dict(PEOPLE.iter_rows())
    wanted = Features.from_frame(pl.DataFrame({"taste": [tastes.get(user) for user in loaded.users.ids]}))
    np.testing.assert_array_equal(found.offsets, wanted.offsets)
    np.testing.assert_array_equal(found.buckets, wanted.buckets)
    np.testing.assert_array_equal(found.weights, wanted.weights)
    assert found.offsets[loaded.users.index("user-36")] == found.offsets[loaded.users.index("user-36") + 1]
    assert torch.equal(loaded.model.score(loaded.histories), model.score(loaded.histories))
    assert not (folder / "users.parquet").read_bytes().count(b"taste")


def test_a_model_that_looks_at_features_does_without_a_users_table(tmp_path: Path) -> None:
    model, vocabulary = segments()
    write_bundle(tmp_path / "bundle", trained=Trained(model=model, vocabulary=vocabulary), interactions=world())
    assert Bundle.load(tmp_path / "bundle").histories.features is None


def test_features_are_not_kept_for_a_model_that_does_not_look_at_them(tmp_path: Path) -> None:
    model, vocabulary = train("ease", world())
    with_people, without = tmp_path / "with", tmp_path / "without"
    write_bundle(with_people, trained=Trained(model=model, vocabulary=vocabulary), interactions=world(), people=PEOPLE)
    write_bundle(without, trained=Trained(model=model, vocabulary=vocabulary), interactions=world())
    assert Bundle.load(with_people).histories.features is None
    assert describe(with_people) == describe(without)
