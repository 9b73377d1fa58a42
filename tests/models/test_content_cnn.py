from dataclasses import replace

import polars as pl
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.content_cnn import ContentCNN, ContentCNNConfig
from tests.support.cold import auc_of_new_items, before_they_came
from tests.support.planted import N_ITEMS

QUICK = {"dim": 8, "word_dim": 8, "filters": 8, "words": 256, "epochs": 5, "learning_rate": 0.01, "batch_size": 16}
CONTEXT = FitContext(device=torch.device("cpu"), seed=3)
TABLE = pl.DataFrame(
    {
        "title": ["war and peace", "war", None, "peace and", "and"],
        "image": [[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], None, [1.0, 1.0]],
    }
)
DATA = TrainingData(histories=Contexts.from_lists([[0, 1], [3], [], [2, 0, 4]]), n_items=5, items=TABLE)


def begun(data: TrainingData = DATA, **parameters: object) -> ContentCNN:
    values = {"dim": 3, "word_dim": 4, "filters": 2, "windows": (1, 2), "words": 50} | parameters
    model = ContentCNN(ContentCNNConfig.model_validate(values), data.n_items)
    model.begin(data, CONTEXT)
    return model


def test_vectors_are_the_strongest_answers_of_filters_over_the_words() -> None:
    model = begun(replace(DATA, items=TABLE[["title"]]))
    network = model.network
    words = network.words(model._words[0].long()).detach()
    answers = []
    for layer in network.filters:
        width = layer.kernel_size[0]
        windows = torch.stack([words[at : at + width] for at in range(3 - width + 1)])
        answers.append((torch.einsum("pwe,few->pf", windows, layer.weight) + layer.bias).relu().amax(dim=0))
    wanted = network.from_text.weight @ torch.cat(answers) + network.from_text.bias
    torch.testing.assert_close(model.item_vectors()[0], wanted.detach())


def test_images_are_added_without_their_mean_and_in_unit_size() -> None:
    model = begun()
    shown = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    shown -= shown.mean(dim=0)
    shown /= shown.square().mean().sqrt()
    assert model.network.from_image is not None
    torch.testing.assert_close(model.item_vectors()[2], model.network.from_image(shown[2]).detach())
    text = model.network(model._words.long(), None)
    wanted = (text + model.network.from_image(shown)).detach()
    torch.testing.assert_close(model.item_vectors(), wanted)


def test_an_item_of_which_nothing_is_said_has_no_vector_of_its_own() -> None:
    model = begun(replace(DATA, items=TABLE[["title"]]))
    assert model.item_vectors()[2].tolist() == [0, 0, 0]


def test_people_are_nobody_and_the_scaled_sum_of_their_items() -> None:
    model = begun(power=0.5)
    with torch.no_grad():
        model.network.nobody.copy_(torch.tensor([1.0, 2.0, 3.0]))
    items = model.item_vectors()
    found = model.user_vectors(Contexts.from_lists([[], [4, 1, 4]]))
    assert found[0].tolist() == [1, 2, 3]
    torch.testing.assert_close(found[1], (items[4] + items[1]) / 2**0.5 + found[0])


def test_the_loss_is_the_softmax_of_each_item_given_the_others() -> None:
    model = begun(dropout=0.0)
    items, nobody = model.item_vectors(), model.network.nobody.detach()
    losses = []
    for history in ([0, 1], [3], [0, 2, 4]):
        for item in history:
            rest = [other for other in history if other != item]
            person = nobody + items[rest].sum(dim=0) / max(1, len(rest)) ** 0.5
            losses.append(-torch.log_softmax(items @ person, dim=0)[item])
    found = model.loss(torch.arange(3).numpy(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.detach(), torch.stack(losses).mean())


def test_a_large_catalogue_is_sampled_and_corrected_by_how_likely_an_item_was_there() -> None:
    model = begun(dropout=0.0, negatives=1)
    items, nobody = model.item_vectors(), model.network.nobody.detach()
    drawn = int(torch.randint(5, (1,), generator=torch.Generator().manual_seed(5)))
    candidates = sorted({0, 1, drawn})
    taken = torch.tensor([2 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    included = 1 - (1 - taken) * (1 - 1 / 5)
    losses = []
    for item, other in ((0, 1), (1, 0)):
        logits = items[candidates] @ (nobody + items[other]) - included[candidates].log()
        losses.append(-torch.log_softmax(logits, dim=0)[candidates.index(item)])
    found = model.loss(torch.tensor([0]).numpy(), torch.Generator().manual_seed(5))
    torch.testing.assert_close(found.detach(), torch.stack(losses).mean())


def test_image_vectors_alone_are_enough_and_sizes_come_back_with_the_weights() -> None:
    model = begun(replace(DATA, items=TABLE[["image"]]))
    model.advance(CONTEXT)
    assert torch.isfinite(model.item_vectors()).all()
    again = ContentCNN(model.config, 5)
    again.load_tensors(model.tensors())
    assert torch.equal(again.score(DATA.histories), model.score(DATA.histories))
    plain = begun(replace(DATA, items=TABLE[["title"]]))
    again.load_tensors(plain.tensors())
    assert again.network.from_image is None


@pytest.mark.parametrize("negatives", [4, 2048])
@pytest.mark.parametrize("column", ["title", "vector"])
def test_items_that_nobody_took_are_found_by_their_content(column: str, negatives: int) -> None:
    data = before_they_came()
    assert data.items is not None
    model = ContentCNN(ContentCNNConfig.model_validate(QUICK | {"negatives": negatives}), N_ITEMS)
    model.fit(replace(data, items=data.items[[column]]), CONTEXT)
    assert auc_of_new_items(model) > 0.9


@pytest.mark.parametrize("items", [None, pl.DataFrame({"year": [1, 2, 3, 4, 5]})])
def test_without_content_a_column_is_asked_for(items: pl.DataFrame | None) -> None:
    with pytest.raises(ModelError) as error:
        begun(replace(DATA, items=items))
    assert str(error.value) == (
        "content_cnn needs a column of text about items or a column of item vectors; add one to the table 'items' or "
        "leave the model out."
    )
