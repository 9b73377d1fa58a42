from math import exp, tanh

import pytest
import torch

from recloop.nn.recurrent import Recurrence


def recurrence(cell: str, dim: int, layers: int = 1) -> Recurrence:
    network = Recurrence(cell, dim, layers, 0.0)
    network.initialise(torch.Generator().manual_seed(4))
    return network.eval()


@torch.no_grad()
def test_states_by_hand() -> None:
    network = recurrence("gru", 1)
    for parameter, values in zip(network.cells.parameters(), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]), strict=False):
        parameter.copy_(torch.tensor(values)[:, None])
    network.cells.bias_ih_l0.zero_()
    network.cells.bias_hh_l0.zero_()
    state, expected = 0.0, []
    for seen in (2.0, -1.0):
        reset = 1 / (1 + exp(-(0.1 * seen + 0.4 * state)))
        keep = 1 / (1 + exp(-(0.2 * seen + 0.5 * state)))
        state = (1 - keep) * tanh(0.3 * seen + reset * 0.6 * state) + keep * state
        expected.append(state)
    assert network(torch.tensor([[[2.0], [-1.0]]])).flatten().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@torch.no_grad()
def test_a_state_depends_on_what_came_before_and_not_on_what_follows(cell: str) -> None:
    network = recurrence(cell, 3, layers=2)
    inputs = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    later, earlier = inputs.clone(), inputs.clone()
    later[:, 3:] += 1
    earlier[:, 0] += 1
    states = network(inputs)
    assert states.shape == (2, 5, 3)
    torch.testing.assert_close(network(later)[:, :3], states[:, :3])
    assert not torch.isclose(network(earlier), states).all(dim=2).any()


def test_no_sequences_have_no_states() -> None:
    assert recurrence("lstm", 3)(torch.zeros(0, 1, 3)).shape == (0, 1, 3)


def test_weights_begin_within_their_bound_and_follow_the_generator() -> None:
    first, second = (recurrence("gru", 4, layers=2) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        assert 0 < one.abs().max() <= 0.5
