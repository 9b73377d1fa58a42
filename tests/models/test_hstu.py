from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import silu

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError, ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.hstu import HSTU, HSTUConfig, _Block, _buckets, _Lookup
from recloop.nn.packing import Packing
from recloop.nn.transformer import initialise

QUICK = {"dim": 16, "layers": 1, "max_length": 6, "batch_size": 16, "learning_rate": 0.02, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
SMALL = {"dim": 8, "layers": 1, "max_length": 4, "batch_size": 16, "learning_rate": 0.02, "epochs": 20}


def trained(histories: Contexts, n_items: int, **parameters: object) -> HSTU:
    model = HSTU(HSTUConfig.model_validate(SMALL | parameters), n_items)
    model.fit(TrainingData(histories=histories, n_items=n_items), CONTEXT)
    return model


def test_a_block_by_hand() -> None:
    block = _Block(HSTUConfig(dim=6, heads=2, max_length=4))
    initialise(block, torch.Generator().manual_seed(0))
    block.by_distance.data, block.by_age.data = torch.randn(4), torch.randn(33)
    block.expand.weight.data *= 20
    block.eval()
    times, states = torch.tensor([0, 0, 7, 100, 103]), torch.randn(5, 6)
    expected = []
    for sequence in (slice(0, 3), slice(3, 5)):
        x, t = states[sequence], times[sequence].tolist()
        u, v, q, k = silu(block.expand(block.norm(x))).chunk(4, dim=1)
        gathered = torch.zeros_like(x)
        for n in range(len(x)):
            for m in range(n + 1):
                age = {0: 0, 3: 2, 7: 3}[t[n] - t[m]]
                for head in (slice(0, 3), slice(3, 6)):
                    weight = silu(q[n, head] @ k[m, head] + block.by_distance[n - m] + block.by_age[age]) / (n + 1)
                    gathered[n, head] += weight * v[m, head]
        expected.append(x + block.project(block.gathered_norm(gathered) * u))
    packing = Packing(np.array([3, 2]), CONTEXT.device)
    found = block(states, times, packing)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(block(states, times, packing, newest_only=True), found[[2, 4]])


def test_ages_double_from_bucket_to_bucket() -> None:
    seconds = torch.tensor([-5, 0, 1, 2, 3, 6, 7, 86_400, 2**40])
    assert _buckets(seconds).tolist() == [0, 0, 1, 1, 2, 2, 3, 16, 32]


def test_the_gradient_of_a_lookup_is_summed() -> None:
    table = torch.randn(4, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 2, 2], [3, 2, 0]])
    assert torch.autograd.gradcheck(lambda entries: _Lookup.apply(entries, index), table)


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
def test_it_learns_what_follows_what(loss: str) -> None:
    cycles = [[(start + step) % 6 for step in range(9)] for start in range(6)] * 4
    model = trained(Contexts.from_lists(cycles), 6, loss=loss, negatives=5)
    best = model.score(Contexts.from_lists([[3], [4, 5], [2, 3, 4, 5, 0, 1]])).argmax(dim=1)
    assert best.tolist() == [4, 0, 2]


def test_how_long_ago_something_was_counts() -> None:
    # after item 0 and a day item 1 comes, after item 0 and a second item 2
    histories = Contexts.from_lists([[0, 3, 1], [0, 3, 2]] * 20)
    gaps = np.tile([0, 86_400, 86_401, 0, 1, 2], 20) * 1_000_000
    model = trained(replace(histories, timestamps=gaps), 4, epochs=80)
    asked = replace(Contexts.from_lists([[0, 3], [0, 3]]), timestamps=np.array([9, 86_409, 9, 10]) * 1_000_000)
    scores = model.score(asked)
    assert scores[0, 1] > scores[0, 2] + 1
    assert scores[1, 2] > scores[1, 1] + 1
    later = replace(asked, timestamps=asked.timestamps + 500_000_000)
    torch.testing.assert_close(model.score(later), scores)


def test_an_empty_history_is_answered_with_what_people_begin_with() -> None:
    model = trained(Contexts.from_lists([[2, 0, 1], [2, 1, 0], [2, 0, 1]] * 5), 4)
    assert model.score(Contexts.from_lists([[]]))[0].argmax().item() == 2


def test_heads_must_divide_the_dimension() -> None:
    with pytest.raises(ConfigError) as error:
        parse(HSTUConfig, {"dim": 10, "heads": 4}, "train.hstu")
    assert "heads (4) must divide dim (10)" in str(error.value)


def test_events_without_order_are_refused() -> None:
    unordered = replace(Contexts.from_lists([[0, 1], [1, 2]]), timestamps=np.zeros(4, dtype=np.int64))
    with pytest.raises(ModelError, match="hstu needs the order of events"):
        HSTU(HSTUConfig(), 3).begin(TrainingData(histories=unordered, n_items=3), CONTEXT)
