import torch

from recloop.data.sequences import Contexts
from recloop.models.mlp import MLP
from tests.support.neural_cf import person, small

QUICK = {"dim": 8, "learning_rate": 0.02, "negatives": 4, "batch_size": 16, "epochs": 15}


def test_the_score_is_that_of_the_perceptron_over_the_concatenation() -> None:
    model = small(MLP, layers=2)
    network = model.network
    first = torch.cat([network.perceptron.person.weight, network.perceptron.item.weight], dim=1)
    (second,) = network.perceptron.rest
    scores = model.score(Contexts.from_lists([[3, 0], []]))
    for row, items in enumerate([[3, 0], []]):
        pairs = torch.cat([person(model, items).expand(5, -1), network.items.weight], dim=1)
        state = torch.relu(pairs @ first.T + network.perceptron.person.bias)
        wanted = torch.relu(state @ second.weight.T + second.bias) @ network.weights
        torch.testing.assert_close(scores[row], wanted.detach())
