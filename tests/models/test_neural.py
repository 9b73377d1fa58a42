import numpy as np
import pytest
import torch

from recloop import devices, models
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralModel

CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
DATA = TrainingData(
    histories=Contexts.from_lists([[(start + step) % 12 for step in range(4 + start % 5)] for start in range(24)]),
    n_items=12,
)
FAST = [name for name in models.names() if issubclass(kind := models.find(name), NeuralModel) and kind.large_products]


def slopes(name: str, monkeypatch: pytest.MonkeyPatch, *, fast: bool) -> torch.Tensor:
    """The gradient of all parameters after one pass."""
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda device: device.type == "cpu" and fast)
    kind = models.find(name)
    chosen = {"dim": 32, "dropout": 0.0, "hidden": 0.3 if name == "simgcl" else 32}
    model = kind(kind.Config(**{key: value for key, value in chosen.items() if key in kind.Config.model_fields}), 12)
    model.begin(DATA, CONTEXT)
    model.advance(CONTEXT)
    torch.manual_seed(2)
    with devices.autocast(model.device):
        loss = model.loss(np.arange(24), torch.Generator().manual_seed(3))
    assert loss.dtype == torch.float32
    loss.backward()
    return torch.cat([part.grad.flatten() for part in model.network.parameters() if part.grad is not None])


def test_the_models_of_large_products_are_known() -> None:
    assert {"sasrec", "gru4rec", "caser", "multvae"} <= set(FAST)
    assert "neumf" not in FAST


@pytest.mark.parametrize("name", FAST)
def test_training_in_bfloat16_goes_the_way_of_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, fast = (slopes(name, monkeypatch, fast=fast) for fast in (False, True))
    assert not torch.equal(exact, fast)
    assert torch.cosine_similarity(exact, fast, dim=0) > 0.98
    assert fast.norm().item() == pytest.approx(exact.norm().item(), rel=0.05)
