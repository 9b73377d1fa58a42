import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext
from recloop.models.dcn import DCN, DCNConfig
from recloop.nn.histories import BagStore
from tests.support.planted import N_ITEMS, data, planted

QUICK = {"dim": 8, "n_candidates": 12, "learning_rate": 0.02, "batch_size": 16, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
ASKED = Contexts.from_lists([[0, 1, 2], [], [9, 17]])


def test_the_logit_weighs_cross_layers_and_perceptron() -> None:
    parameters = QUICK | {"candidates": "item_knn", "n_candidates": 5, "epochs": 1}
    model = DCN(DCNConfig.model_validate(parameters), N_ITEMS)
    model.fit(data(planted()), CONTEXT)
    network = model.network
    with torch.no_grad():
        people = network.fields.people(BagStore(ASKED.matrix(N_ITEMS)).all(torch.device("cpu")), model._rows(None, 3))
        start = torch.cat([people[0], network.fields.catalogue()[7]]).flatten()
        state = start
        for outer in network.cross.outer:
            state = start * (outer.weight @ state + outer.bias) + state
        wanted = network.out.weight[0] @ torch.cat([state, network.deep(start)]) + network.out.bias[0]
        torch.testing.assert_close(network(people[0], network.fields.catalogue()[7]), wanted)
