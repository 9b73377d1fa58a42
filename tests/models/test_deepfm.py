import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext
from recloop.models.deepfm import DeepFM, DeepFMConfig
from recloop.nn.histories import BagStore
from tests.support.planted import N_ITEMS, data, planted

QUICK = {"dim": 8, "n_candidates": 12, "learning_rate": 0.02, "batch_size": 16, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
ASKED = Contexts.from_lists([[0, 1, 2], [], [9, 17]])


def test_the_logit_adds_weights_products_of_fields_and_the_perceptron() -> None:
    parameters = QUICK | {"candidates": "item_knn", "n_candidates": 5, "epochs": 1}
    model = DeepFM(DeepFMConfig.model_validate(parameters), N_ITEMS)
    model.fit(data(planted()), CONTEXT)
    network = model.network
    with torch.no_grad():
        people = network.fields.people(BagStore(ASKED.matrix(N_ITEMS)).all(torch.device("cpu")), model._rows(None, 3))
        fields = torch.cat([people[0], network.fields.catalogue()[7]])
        vectors = fields[:, 1:]
        pairs = sum(vectors[g] @ vectors[h] for g in range(4) for h in range(g))
        wanted = fields[:, 0].sum() + pairs + network.out(network.deep(vectors.flatten()))[0]
        torch.testing.assert_close(network(people[0], network.fields.catalogue()[7]), wanted)
