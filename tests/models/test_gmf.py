import torch

from recloop.data.sequences import Contexts
from recloop.models.gmf import GMF
from tests.support.neural_cf import person, small

QUICK = {"dim": 8, "learning_rate": 0.02, "negatives": 4, "batch_size": 16, "epochs": 15}


def test_the_score_is_a_weighted_product() -> None:
    model = small(GMF)
    scores = model.score(Contexts.from_lists([[3, 0], []]))
    for row, items in enumerate([[3, 0], []]):
        joint = person(model, items) * model.network.items.weight.detach()
        torch.testing.assert_close(scores[row], joint @ model.network.weights.detach())
