from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ConfigError, ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.popularity import Popularity, PopularityConfig
from recloop.models.storage import Trained, load, save
from recloop.models.transfer_sequence import TransferSequence, TransferSequenceConfig

QUICK = {"dim": 16, "layers": 1, "max_length": 6, "batch_size": 16, "learning_rate": 0.02, "epochs": 6}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
SMALL = {"dim": 8, "layers": 1, "max_length": 4, "dropout": 0.0, "batch_size": 16, "learning_rate": 0.02, "epochs": 2}
COLOURS = ("red", "green", "blue")


def domain(people: int, *, kind: str, n_items: int, seed: int, length: int = 5) -> TrainingData:
    """People who take each colour of `kind` in turn: red, green, blue, red, ...; item i has colour i modulo 3."""
    random = np.random.default_rng(seed)
    steps = np.arange(length) + random.integers(0, 3, (people, 1))
    items = steps % 3 + 3 * random.integers(0, n_items // 3, steps.shape)
    table = pl.DataFrame({"title": [f"{COLOURS[item % 3]} {kind} {kind}{item}" for item in range(n_items)]})
    return TrainingData(histories=Contexts.from_lists(items.tolist()), n_items=n_items, items=table)


BOOKS = domain(60, kind="book", n_items=12, seed=0)
LAMPS = domain(3, kind="lamp", n_items=9, seed=1, length=2)


def fitted(data: TrainingData, **parameters: object) -> TransferSequence:
    model = TransferSequence(TransferSequenceConfig.model_validate(SMALL | parameters), data.n_items)
    model.fit(data, CONTEXT)
    return model


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("books") / "model"
    save(Trained(model=fitted(BOOKS, epochs=40), vocabulary=Vocabulary([f"b{item:02}" for item in range(12)])), folder)
    return folder


def share_of_right_colours(model: TransferSequence) -> float:
    """How often an item of the colour that comes next is ranked first, in histories of one to three lamps."""
    asked = domain(50, kind="lamp", n_items=9, seed=2, length=4).histories
    right = []
    for length in (1, 2, 3):
        part = asked.take(np.arange(50), np.full(50, length))
        newest = part.items[part.offsets[1:] - 1]
        right.append(model.score(part).argmax(dim=1).numpy() % 3 == (newest + 1) % 3)
    return float(np.mean(right))


@pytest.mark.parametrize("freeze", ["none", "encoder"])
def test_what_was_learned_from_books_helps_with_lamps(books: Path, freeze: str) -> None:
    alone = share_of_right_colours(fitted(LAMPS))
    helped = share_of_right_colours(fitted(LAMPS, pretrained=str(books), freeze=freeze))
    assert helped > alone + 0.3


def test_it_begins_as_the_pretrained_model(books: Path) -> None:
    model = TransferSequence(TransferSequenceConfig.model_validate(SMALL | {"pretrained": str(books)}), 12)
    model.begin(BOOKS, CONTEXT)
    trained, _ = load(books)
    torch.testing.assert_close(model.score(BOOKS.histories), trained.score(BOOKS.histories))


def test_a_frozen_encoder_stays_and_the_items_change(books: Path) -> None:
    model = fitted(LAMPS, pretrained=str(books), freeze="encoder")
    before = load(books)[0].tensors()
    same = {name: torch.equal(tensor, before[name]) for name, tensor in model.tensors().items() if name != "vectors"}
    assert all(kept == name.startswith("encoder") for name, kept in same.items())


def test_what_was_trained_needs_the_pretrained_folder_no_more(books: Path, tmp_path: Path) -> None:
    model = fitted(LAMPS, pretrained=str(books), epochs=1)
    moved = type(model)(model.config.model_copy(update={"pretrained": str(tmp_path / "gone")}), 9)
    moved.load_tensors(model.tensors())
    assert torch.equal(moved.score(LAMPS.histories), model.score(LAMPS.histories))


@pytest.mark.parametrize(("content", "loss"), [("words", "softmax"), ("vectors", "softmax")])
def test_items_that_nobody_took_are_scored_by_what_they_are(content: str, loss: str) -> None:
    assert BOOKS.items is not None
    colours = [[float(item % 3 == colour) for colour in range(3)] for item in range(15)]
    table = pl.DataFrame(
        {"title": [f"{COLOURS[item % 3]} book book{item}" for item in range(15)], "vector": colours},
    )
    model = fitted(replace(BOOKS, n_items=15, items=table), content=content, loss=loss, negatives=20, epochs=40)
    scores = model.score(Contexts.from_lists([[0], [3, 1], [2]]))
    assert scores[:, 12:].argmax(dim=1).tolist() == [1, 2, 0]


@pytest.mark.parametrize("content", ["words", "vectors"])
def test_many_draws_give_the_loss_of_all_items(content: str) -> None:
    assert BOOKS.items is not None
    numbers = np.random.default_rng(3).normal(size=(12, 5)).tolist()
    data = replace(BOOKS, items=BOOKS.items.with_columns(vector=pl.Series(numbers)))
    losses = []
    for loss in ("softmax", "sampled_softmax"):
        how = SMALL | {"content": content, "loss": loss, "negatives": 50_000}
        model = TransferSequence(TransferSequenceConfig.model_validate(how), 12)
        model.begin(data, CONTEXT)
        with torch.no_grad():
            model.network.project.mul_(20)
            losses.append(model.loss(np.array([0, 3, 5]), torch.Generator().manual_seed(0)).item())
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert abs(losses[0] - np.log(12)) > 0.1


def test_case_punctuation_and_columns_of_words_do_not_matter() -> None:
    table = pl.DataFrame({"a": ["Red, book!", "", "book"], "b": [["x"], None, ["RED x"]]})
    model = fitted(TrainingData(histories=Contexts.from_lists([[0, 1, 2]]), n_items=3, items=table), epochs=1)
    vectors = model.item_vectors()
    torch.testing.assert_close(vectors[0], vectors[2])
    assert not torch.allclose(vectors[0], vectors[1])


def test_order_matters() -> None:
    scores = fitted(BOOKS).score(Contexts.from_lists([[0, 1], [1, 0]]))
    assert not torch.allclose(scores[0], scores[1], atol=1e-4)


def refusal(data: TrainingData = LAMPS, **parameters: object) -> str:
    with pytest.raises(ModelError) as error:
        fitted(data, **parameters)
    return str(error.value)


def test_a_pretrained_model_that_does_not_fit_is_refused(books: Path, tmp_path: Path) -> None:
    assert refusal(pretrained=str(tmp_path)).startswith(f"{tmp_path / 'model.json'} does not exist")
    assert refusal(pretrained=str(books), layers=2) == (
        f"{books} was trained with layers 1, not 2; use the same layers for both."
    )
    popularity = Popularity(PopularityConfig(), 9)
    popularity.fit(LAMPS, CONTEXT)
    save(Trained(model=popularity, vocabulary=Vocabulary([str(item) for item in range(9)])), tmp_path / "other")
    assert refusal(pretrained=str(tmp_path / "other")) == (
        f"{tmp_path / 'other'} holds the model 'popularity'; name the folder of a transfer_sequence model as "
        "pretrained."
    )


def test_vectors_that_are_missing_or_of_another_length_are_refused(tmp_path: Path) -> None:
    assert LAMPS.items is not None
    assert refusal(content="vectors") == (
        "transfer_sequence with content 'vectors' needs a column of item vectors: lists of equally many numbers; add "
        "it to the table 'items' or use content 'words'."
    )
    short, long = (
        replace(LAMPS, items=LAMPS.items.with_columns(vector=pl.Series([[0.5] * width] * 9))) for width in (2, 3)
    )
    save(
        Trained(
            model=fitted(short, content="vectors", epochs=1), vocabulary=Vocabulary([str(item) for item in range(9)])
        ),
        tmp_path / "short",
    )
    assert refusal(long, content="vectors", pretrained=str(tmp_path / "short")) == (
        f"{tmp_path / 'short'} was trained on item vectors of length 2, not 3; use vectors of the same kind for both."
    )


def test_items_without_text_are_refused() -> None:
    untold = replace(LAMPS, items=pl.DataFrame({"price": [1.0] * 9}))
    assert "transfer_sequence needs a column of text about items" in refusal(untold)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dim": 10, "heads": 4}, "heads (4) must divide dim (10)"),
        ({"freeze": "encoder"}, "freeze 'encoder' needs pretrained weights to keep"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(TransferSequenceConfig, parameters, "train.transfer_sequence")
    assert message in str(error.value)
