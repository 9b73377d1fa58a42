import numpy as np
import pytest
import torch

from recloop.nn.packing import Packing
from recloop.nn.transformer import Block, initialise


def block(*, causal: bool = True, width: int = 1) -> Block:
    torch.manual_seed(0)
    return Block(dim=6, heads=2, dropout=0.0, causal=causal, width=width).eval()


def packing(*sizes: int) -> Packing:
    return Packing(np.array(sizes, dtype=np.int64), torch.device("cpu"))


def attention_by_hand(layer: Block, states: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """The block on one sequence (L, D), head by head and event by event."""
    normed = layer.attention_norm(states)
    query, (key, value) = layer.query(normed), layer.key_value(normed).chunk(2, dim=1)
    gathered = torch.zeros_like(states)
    for head in (slice(0, 3), slice(3, 6)):
        for event in range(len(states)):
            seen = slice(0, event + 1 if causal else len(states))
            weights = (key[seen, head] @ query[event, head] / 3**0.5).softmax(dim=0)
            gathered[event, head] = weights @ value[seen, head]
    states = states + layer.project(gathered)
    return states + layer.feedforward(states)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sizes", [(2, 5, 1), (1, 2, 5), (3, 3)])
def test_each_sequence_is_computed_as_if_alone(causal: bool, sizes: tuple[int, ...]) -> None:  # noqa: FBT001 - a parameter of the test
    layer = block(causal=causal)
    states = torch.randn(sum(sizes), 6)
    expected = torch.cat([attention_by_hand(layer, part, causal=causal) for part in states.split(sizes)])
    torch.testing.assert_close(layer(states, packing(*sizes)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("causal", [True, False])
def test_the_newest_alone_is_the_last_of_all(causal: bool) -> None:  # noqa: FBT001 - a parameter of the test
    packed = packing(2, 4, 1)
    states = torch.randn(7, 6)
    newest = block(causal=causal)(states, packed, newest_only=True)
    assert newest.shape == (3, 6)
    torch.testing.assert_close(newest, block(causal=causal)(states, packed)[[1, 5, 6]])


def test_the_feedforward_layer_can_be_wider() -> None:
    assert block(width=4).feedforward[1].weight.shape == (24, 6)
    assert block().feedforward[1].weight.shape == (6, 6)


def test_weights_begin_small_biases_at_zero_norms_at_one() -> None:
    layer = Block(dim=64, heads=2, dropout=0.0)
    initialise(layer, torch.Generator().manual_seed(0))
    assert layer.query.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not layer.query.bias.any()
    assert not layer.feedforward[0].bias.any()
    assert (layer.feedforward[0].weight == 1).all()
    assert (layer.attention_norm.weight == 1).all()


def test_the_wanted_events_alone_are_those_of_all() -> None:
    packed, wanted = packing(1, 2, 9, 9), torch.tensor([0, 2, 5, 7, 13, 20])
    states = torch.randn(21, 6, requires_grad=True)
    some = block(causal=False)(states, packed, wanted=wanted)
    every = block(causal=False)(states, packed)[wanted]
    torch.testing.assert_close(some, every)
    weights = torch.randn(6, 6)
    found, expected = (torch.autograd.grad((part * weights).sum(), states)[0] for part in (some, every))
    torch.testing.assert_close(found, expected)
