"""What every model must do that can begin with what another one learned; a new file in `models` is tested unnamed."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from recloop import models
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import UNKNOWN
from recloop.errors import ModelError
from recloop.models.base import FitContext, IterativeModel, Model, TrainingData
from recloop.models.neural import NeuralModel
from tests.support.planted import ITEMS_EACH, N_ITEMS, contexts, data, planted, quick

CPU = torch.device("cpu")
CONTEXT = FitContext(device=CPU, seed=3)
OTHER = replace(CONTEXT, seed=4)
ASKED = contexts([[0, 1, 2], [], [9], [23, 17, 16, 17, 18, 19, 20, 21, 22, 16, 17], [4, 12]])
FRESH = {"dropoutnet", "irgan", "kgat", "kgcn", "ripplenet"}
"""Trained in passes, and yet always from the beginning; each says why."""
RERANKERS = {"dcn", "deepfm"}
"""What finds their candidates is fitted anew, so with another catalogue the candidates are others."""

NEW = 3
PLACES = np.random.default_rng(5).permutation(N_ITEMS + NEW)
"""Where each item stands in a larger catalogue; the first are the old items."""
ROWS = np.where(np.argsort(PLACES) < N_ITEMS, np.argsort(PLACES), UNKNOWN)
SAME = np.arange(N_ITEMS)


def untrained(name: str, n_items: int = N_ITEMS) -> Model:
    kind = models.find(name)
    return kind(kind.Config(**quick(name)), n_items, CPU)


def can(name: str) -> bool:
    return untrained(name).no_warm_start is None


WARM = [name for name in models.names() if can(name)]


@pytest.fixture(scope="module", params=WARM)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def trained(name: str) -> Model:
    model = untrained(name)
    model.fit(data(planted()), CONTEXT)
    return model


def moved(asked: Contexts) -> Contexts:
    return replace(asked, items=PLACES[asked.items])


def larger() -> TrainingData:
    """The same people and events; three new items, of which nobody has taken any, stand among the old ones.

    Their texts are no longer than those of the others, because `content_cnn` reads all texts as long as the longest.
    """
    world = data(planted())
    assert world.items is not None
    new = world.items[::ITEMS_EACH].with_columns(
        title=pl.col("title").str.replace("number", "another"), year=pl.lit(2100, pl.Int64)
    )
    items = pl.concat([world.items, new])[np.argsort(PLACES)]
    return TrainingData(histories=moved(world.histories), n_items=N_ITEMS + NEW, items=items)


def begun(name: str, world: TrainingData, context: FitContext = OTHER) -> IterativeModel:
    model = untrained(name, world.n_items)
    assert isinstance(model, IterativeModel)
    model.begin(world, context)
    return model


def warm(name: str, trained: Model, world: TrainingData, rows: np.ndarray) -> IterativeModel:
    model = begun(name, world)
    model.warm_start(trained.tensors(), rows)
    return model


def grows(small: dict[str, Tensor], large: dict[str, Tensor]) -> set[str]:
    return {key for key, tensor in small.items() if tensor.shape != large[key].shape}


def test_all_models_in_passes_begin_warm_but_those_that_say_why_not() -> None:
    passes = {name for name in models.names() if issubclass(models.find(name), IterativeModel)}
    assert set(WARM) == passes - FRESH


@pytest.mark.parametrize("name", sorted(FRESH))
def test_a_model_that_cannot_says_why(name: str) -> None:
    model = begun(name, data(planted()))
    before = {key: tensor.clone() for key, tensor in model.tensors().items()}
    with pytest.raises(ModelError) as caught:
        model.warm_start(model.tensors(), SAME)
    assert str(caught.value) == (
        f"{name} cannot begin with what another model learned: {model.no_warm_start}; train it from the beginning."
    )
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.tensors().items())


def test_what_grows_with_the_catalogue_is_said_to_belong_to_items(name: str) -> None:
    """Beside what is computed from data, and vectors of features, whose number follows the words of new items."""
    small, large = begun(name, data(planted())), begun(name, larger())
    network = getattr(small, "network", torch.nn.Module())
    computed = {key for key, _ in network.named_buffers()}
    found = {
        key
        for key in grows(small.tensors(), large.tensors()) - computed
        if "features.vectors" not in key and not key.startswith("candidates.")
    }
    assert found == small.per_item
    assert all(small.tensors()[key].shape[0] >= N_ITEMS for key in found)


def test_the_same_catalogue_gives_the_same_scores_before_any_pass(name: str, trained: Model) -> None:
    fresh = begun(name, data(planted()), CONTEXT)
    assert not torch.allclose(fresh.score(ASKED), trained.score(ASKED), rtol=1e-3, atol=1e-3)
    fresh.warm_start(trained.tensors(), SAME)
    torch.testing.assert_close(fresh.score(ASKED), trained.score(ASKED), rtol=1e-5, atol=1e-6)


def test_items_are_found_again_in_another_catalogue(name: str, trained: Model) -> None:
    model = warm(name, trained, larger(), ROWS)
    scores = model.score(moved(ASKED))
    assert scores.shape == (len(ASKED), N_ITEMS + NEW)
    assert torch.isfinite(scores).all()
    if name in RERANKERS:
        learned, own = trained.tensors(), model.tensors()
        assert model.per_item
        for key in model.per_item:
            torch.testing.assert_close(own[key][torch.from_numpy(PLACES[:N_ITEMS])], learned[key][:N_ITEMS])
        return
    torch.testing.assert_close(scores[:, PLACES[:N_ITEMS]], trained.score(ASKED), rtol=1e-4, atol=1e-5)


def test_a_pass_begins_where_the_other_model_ended(name: str, trained: Model) -> None:
    fresh, model = begun(name, larger()), warm(name, trained, larger(), ROWS)
    assert model.advance(OTHER) < fresh.advance(OTHER)
    assert torch.isfinite(model.score(moved(ASKED))).all()


def test_the_other_model_is_left_alone(name: str, trained: Model) -> None:
    before = {key: tensor.clone() for key, tensor in trained.tensors().items()}
    model = warm(name, trained, data(planted()), SAME)
    model.advance(OTHER)
    assert all(torch.equal(tensor, before[key]) for key, tensor in trained.tensors().items())


def test_a_catalogue_of_new_items_alone_is_a_beginning_too(name: str, trained: Model) -> None:
    model = warm(name, trained, data(planted()), np.full(N_ITEMS, UNKNOWN))
    assert torch.isfinite(model.score(ASKED)).all()
    model.advance(OTHER)
    assert torch.isfinite(model.score(ASKED)).all()


def test_a_tensor_of_another_shape_is_refused(name: str, trained: Model) -> None:
    learned, model = trained.tensors(), begun(name, data(planted()))
    own = {key for key, _ in model.network.named_parameters()} if isinstance(model, NeuralModel) else model.per_item
    for key in sorted(own or ()):
        with pytest.raises(ModelError, match=f"Tensor '{key}' of {name} has shape"):
            model.warm_start(learned | {key: torch.zeros(N_ITEMS, 1, 7, 2)}, SAME)
        without = {other: tensor for other, tensor in learned.items() if other != key}
        with pytest.raises(ModelError, match=f"tensors of {name} lack '{key}'"):
            model.warm_start(without, SAME)
    for key in sorted(model.per_item or ()):
        behind = len(learned[key]) - N_ITEMS
        with pytest.raises(ModelError, match=f"Tensor '{key}' of {name} has 1 rows, too few for its catalogue"):
            model.warm_start(learned | {key: learned[key][: 1 + behind]}, SAME)
