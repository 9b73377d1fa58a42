import numpy as np
import pytest
import torch

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError
from recloop.models.base import FitContext, TrainingData
from recloop.models.bert4rec import BERT4Rec, BERT4RecConfig
from recloop.nn.packing import Packing

QUICK = {"dim": 16, "layers": 1, "max_length": 6, "batch_size": 16, "learning_rate": 0.02, "epochs": 15, "masked": 0.4}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
SMALL = {"dim": 16, "layers": 1, "max_length": 5, "batch_size": 8, "learning_rate": 0.006, "epochs": 40, "dropout": 0.0}


def trained(histories: list[list[int]], n_items: int, **parameters: object) -> BERT4Rec:
    model = BERT4Rec(BERT4RecConfig.model_validate(SMALL | parameters), n_items)
    model.fit(TrainingData(histories=Contexts.from_lists(histories), n_items=n_items), CONTEXT)
    return model


def test_it_learns_what_follows_what() -> None:
    cycles = [[(start + step) % 6 for step in range(9)] for start in range(6)] * 4
    model = trained(cycles, 6)
    best = model.score(Contexts.from_lists([[2, 3], [3, 4, 5], [2, 3, 4, 5, 0, 1]])).argmax(dim=1)
    assert best.tolist() == [4, 0, 2]


def test_what_comes_after_counts_too() -> None:
    # the middle follows from the last alone
    model = trained([[0, 1, 3], [0, 2, 4]] * 12, 5, masked=0.34, last_only=0.0)
    middle = torch.tensor([0, 5, 3, 0, 5, 4])
    hidden = model.network(middle, Packing(np.array([3, 3]), CONTEXT.device), torch.tensor([1, 4]))
    assert (hidden @ model.item_vectors().T).argmax(dim=1).tolist() == [1, 2]


def test_scores_are_products_plus_biases() -> None:
    model = trained([[0, 1, 2], [2, 1]], 4, epochs=2)
    people, network = model.user_vectors(Contexts.from_lists([[1, 2], []])), model.network
    expected = people[:, :-1] @ network.items.weight[:4].T + network.biases
    torch.testing.assert_close(model.score(Contexts.from_lists([[1, 2], []])), expected)
    assert people.shape == (2, 17)


def test_one_place_is_the_blanks() -> None:
    model = trained([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]], 4, epochs=3)
    scores = model.score(Contexts.from_lists([[3, 0, 1, 2], [2, 2, 3, 0, 1, 2], [2, 3, 0, 1]]))
    torch.testing.assert_close(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2], atol=1e-4)


def test_an_empty_history_is_answered_with_what_is_chosen_most() -> None:
    model = trained([[2], [2], [2], [1]] * 5, 4)
    assert model.score(Contexts.from_lists([[]]))[0].argsort(descending=True)[:2].tolist() == [2, 1]


def blanks(sizes: list[int], **parameters: object) -> torch.Tensor:
    model = BERT4Rec(BERT4RecConfig.model_validate(SMALL | parameters), 4)
    return model._blanks(Packing(np.array(sizes), CONTEXT.device), torch.Generator().manual_seed(0))


def test_some_events_are_blanked_out_and_at_least_one() -> None:
    drawn = blanks([2000, 500], masked=0.3, last_only=0.0)
    assert drawn.float().mean().item() == pytest.approx(0.3, abs=0.03)
    rare = blanks([3] * 200, masked=1e-6, last_only=0.0).view(200, 3)
    assert rare.sum(dim=1).tolist() == [1] * 200
    assert rare.any(dim=0).all()


def test_in_a_share_of_windows_the_newest_alone_is() -> None:
    assert blanks([3, 1, 2], last_only=1.0).tolist() == [False, False, True, True, False, True]
    drawn = blanks([4] * 1000, masked=1 - 1e-6, last_only=0.25).view(1000, 4)
    assert (drawn.sum(dim=1) == 1).float().mean().item() == pytest.approx(0.25, abs=0.05)


def test_heads_must_divide_the_dimension() -> None:
    with pytest.raises(ConfigError) as error:
        parse(BERT4RecConfig, {"dim": 10, "heads": 4}, "train.bert4rec")
    assert "heads (4) must divide dim (10)" in str(error.value)
