import torch

from recloop.models.base import FitContext
from recloop.models.dcn import DCN, DCNConfig
from tests.support.planted import N_ITEMS, data, planted

QUICK = {"dim": 8, "n_candidates": 12, "learning_rate": 0.02, "batch_size": 16, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)


def test_the_correction_weighs_cross_layers_and_perceptron() -> None:
    parameters = QUICK | {"candidates": "item_knn", "n_candidates": 5, "epochs": 1}
    model = DCN(DCNConfig.model_validate(parameters), N_ITEMS)
    model.fit(data(planted()), CONTEXT)
    network = model.network
    fields = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        start = state = fields.flatten()
        for inner, outer in zip(network.cross.inner, network.cross.outer, strict=True):
            state = start * (outer.weight @ (inner.weight @ state) + outer.bias) + state
        wanted = network.out.weight[0] @ torch.cat([state, network.deep(start)]) + network.out.bias[0]
        torch.testing.assert_close(network.correction(fields), wanted)
