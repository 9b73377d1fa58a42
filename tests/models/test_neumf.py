import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.neumf import NeuMF
from tests.support.neural_cf import person, small

QUICK = {"dim": 8, "learning_rate": 0.02, "negatives": 4, "batch_size": 16, "epochs": 15}


@pytest.mark.parametrize("width", [None, 6])
def test_the_score_is_that_of_the_perceptron_over_the_concatenation(width: int | None) -> None:
    model = small(NeuMF, layers=2, width=width)
    network = model.network
    first = torch.cat([network.perceptron.person.weight, network.perceptron.item.weight], dim=1)
    (second,) = network.perceptron.rest
    assert second.weight.shape == ((3, 6) if width else (2, 4))
    scores = model.score(Contexts.from_lists([[3, 0], []]))
    for row, items in enumerate([[3, 0], []]):
        pairs = torch.cat([person(model, items)[4:].expand(5, -1), network.items.weight[:, 4:]], dim=1)
        state = torch.relu(pairs @ first.T + network.perceptron.person.bias)
        wanted = torch.relu(state @ second.weight.T + second.bias) @ network.weights
        wanted = wanted + network.items.weight[:, :4] @ (network.product_weights * person(model, items)[:4])
        torch.testing.assert_close(scores[row], wanted.detach())
