import torch

from recloop.models.base import FitContext
from recloop.models.deepfm import DeepFM, DeepFMConfig
from tests.support.planted import N_ITEMS, data, planted

QUICK = {"dim": 8, "n_candidates": 12, "learning_rate": 0.02, "batch_size": 16, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)


def test_the_correction_adds_weights_products_of_fields_and_the_perceptron() -> None:
    parameters = QUICK | {"candidates": "item_knn", "n_candidates": 5, "epochs": 1}
    model = DeepFM(DeepFMConfig.model_validate(parameters), N_ITEMS)
    model.fit(data(planted()), CONTEXT)
    network = model.network
    fields = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    vectors = fields[:, 1:]
    with torch.no_grad():
        pairs = sum(vectors[g] @ vectors[h] for g in range(6) for h in range(g))
        wanted = fields[:, 0].sum() + pairs + network.out(network.deep(vectors.flatten()))[0]
        torch.testing.assert_close(network.correction(fields), wanted)
