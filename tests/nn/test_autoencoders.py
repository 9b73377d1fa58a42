import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from recloop.nn.autoencoders import (
    BagLinear,
    Decoder,
    Encoder,
    Linear,
    Targets,
    cosines,
    initialise,
    multinomial_loss,
    targets_with_nobody,
    unit_weights,
    with_nobody,
    with_one,
)
from recloop.nn.histories import Bags, BagStore

CPU = torch.device("cpu")
HISTORIES = sparse.csr_matrix(np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=np.float32))
BAGS = BagStore(HISTORIES).all(CPU)
NOBODY = BagStore(sparse.csr_matrix((2, 4), dtype=np.float32)).all(CPU)


def test_nobody_comes_last_and_took_what_all_took() -> None:
    assert with_nobody(BAGS).offsets.tolist() == [0, 3, 3, 4, 4]
    targets = targets_with_nobody(BAGS)
    assert targets.offsets.tolist() == [0, 3, 3, 4, 8]
    assert targets.items.tolist() == [0, 2, 3, 1, 0, 2, 3, 1]
    torch.testing.assert_close(targets.weights, torch.tensor([1, 1, 1, 1, 1 / 3, 1 / 3, 1 / 3, 1 / 3]))


def test_unit_weights_give_each_history_length_one() -> None:
    torch.testing.assert_close(unit_weights(BAGS), torch.tensor([3**-0.5, 3**-0.5, 3**-0.5, 1.0]))


def test_the_first_layer_is_the_product_with_the_history() -> None:
    layer = BagLinear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2], [3, 4], [5, 6], [7, 8]]))
        layer.bias.copy_(torch.tensor([0.5, -1]))
    found = layer(BAGS, torch.tensor([1.0, 2, 0.5, 10]))
    assert found.tolist() == [[1 + 10 + 3.5 + 0.5, 2 + 12 + 4 - 1], [0.5, -1], [30.5, 39]]
    assert layer(NOBODY, torch.zeros(0)).tolist() == [[0.5, -1], [0.5, -1]]


def test_encoder_and_decoder_put_tanh_between_their_layers() -> None:
    encoder, decoder = Encoder(4, [3, 2]), Decoder([2, 3], 4)
    for part in (encoder, decoder):
        initialise(part, torch.Generator().manual_seed(0))
    codes = encoder(BAGS, torch.ones(4))
    first = torch.from_numpy(HISTORIES.toarray()) @ encoder.first.weight
    layer, hidden = encoder.rest[0], decoder.hidden[0]
    assert isinstance(layer, nn.Linear)
    assert isinstance(hidden, nn.Linear)
    torch.testing.assert_close(codes, first.tanh() @ layer.weight.T)
    states = decoder(codes)
    torch.testing.assert_close(states, (codes @ hidden.weight.T).tanh())
    with torch.no_grad():
        decoder.bias.copy_(torch.arange(4))
    torch.testing.assert_close(with_one(states) @ decoder.item_vectors().T, states @ decoder.items.T + torch.arange(4))


def test_without_hidden_layers_the_decoder_gives_what_it_gets() -> None:
    codes = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Decoder([2], 4)(codes), codes)


def test_outside_training_company_does_not_matter() -> None:
    layer, rows = Linear(300, 40), torch.randn(64, 300, generator=torch.Generator().manual_seed(0))
    initialise(layer, torch.Generator().manual_seed(1))
    trained = layer(rows)
    assert trained.requires_grad
    with torch.no_grad():
        together = layer.eval()(rows)
        torch.testing.assert_close(together, trained)
        assert all(torch.equal(layer(rows[[row]])[0], together[row]) for row in range(64))


def test_first_weights_follow_glorot_and_norms_begin_with_one() -> None:
    network = nn.ModuleDict({"wide": nn.Linear(300, 500), "norm": nn.LayerNorm(3)})
    initialise(network, torch.Generator().manual_seed(0))
    weights = dict(network.named_parameters())
    assert weights["wide.weight"].std().item() == pytest.approx((2 / 800) ** 0.5, rel=0.01)
    assert not weights["wide.bias"].any()
    assert weights["norm.weight"].tolist() == [1, 1, 1]
    assert weights["norm.bias"].tolist() == [0, 0, 0]


def test_cosines() -> None:
    found = cosines(torch.tensor([[3.0, 4], [4, 3], [-6, -8]]), [0, 1])
    torch.testing.assert_close(found, torch.tensor([[1, 0.96, -1], [0.96, 1, -0.96]]))


def test_the_multinomial_loss_by_hand() -> None:
    hidden = torch.tensor([[1.0], [0.0]])
    items, bias = torch.tensor([[0.0], [np.log(2)], [0.0]]), torch.tensor([0.0, 0.0, np.log(3)])
    targets = Targets(
        offsets=torch.tensor([0, 2, 3]), items=torch.tensor([1, 2, 0]), weights=torch.tensor([1.0, 2.0, -1.0])
    )
    wanted = -(np.log(2 / 6) + 2 * np.log(3 / 6) - np.log(1 / 5)) / 2
    assert multinomial_loss(hidden, items.float(), bias.float(), targets).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("max_logits", [1, 5, 10, 1000])
def test_the_multinomial_loss_has_the_right_slopes_in_every_chunk(max_logits: int) -> None:
    random = torch.Generator().manual_seed(0)
    parts = [torch.randn(size, generator=random).requires_grad_() for size in ((4, 3), (5, 3), (5,))]
    hidden, items, bias = parts
    targets = Targets(
        offsets=torch.tensor([0, 3, 3, 4, 6]),
        items=torch.tensor([1, 4, 4, 0, 2, 3]),
        weights=torch.tensor([1.0, 0.5, 2.0, 1.0, -0.3, 1.0]),
    )
    (3 * multinomial_loss(hidden, items, bias, targets, max_logits)).backward()
    found = [part.grad for part in parts]
    for part in parts:
        part.grad = None
    logs = (hidden @ items.T + bias).log_softmax(dim=1)
    (-3 * (logs[[0, 0, 0, 2, 3, 3], targets.items] * targets.weights).sum() / 4).backward()
    for slope, part in zip(found, parts, strict=True):
        torch.testing.assert_close(slope, part.grad)


def test_fixed_items_get_no_slope() -> None:
    hidden, items = torch.ones(1, 2, requires_grad=True), torch.ones(3, 2)
    targets = Targets(offsets=torch.tensor([0, 1]), items=torch.tensor([2]), weights=torch.ones(1))
    multinomial_loss(hidden, items, torch.tensor([0.0, 0, 1]), targets).backward()
    assert items.grad is None
    assert isinstance(hidden.grad, torch.Tensor)


def test_bags_of_nobody_have_no_weights() -> None:
    empty = Bags(offsets=torch.zeros(1, dtype=torch.int64), rows=torch.zeros(0).long(), items=torch.zeros(0).long())
    assert unit_weights(empty).shape == (0,)
    assert BagLinear(4, 2)(empty, torch.zeros(0)).shape == (0, 2)
