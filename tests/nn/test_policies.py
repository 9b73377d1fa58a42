import numpy as np
import pytest
import torch
from scipy import sparse

from recloop.nn.histories import BagStore
from recloop.nn.policies import advantages, draw, split

CPU = torch.device("cpu")
CHOSEN = BagStore(sparse.csr_matrix(np.array([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=np.float32))).all(CPU)
SHARES = torch.tensor([0.5, 0.3, 0.1, 0.1])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_split_shows_each_event_or_leaves_it_out() -> None:
    matrix = sparse.csr_matrix(np.repeat([[1, 1, 1, 0, 1], [0, 0, 0, 0, 0]], 500, axis=0).astype(np.float32))
    bags = BagStore(matrix).all(CPU)
    shown, left_out = split(bags, generator())
    assert len(shown) == len(left_out) == 1000
    pairs = sorted(
        pair for part in (shown, left_out) for pair in zip(part.rows.tolist(), part.items.tolist(), strict=True)
    )
    assert pairs == [*zip(bags.rows.tolist(), bags.items.tolist(), strict=True)]
    for part in (shown, left_out):
        assert torch.equal(part.lengths, torch.bincount(part.rows, minlength=1000))
    sizes = torch.bincount(shown.lengths[:500], minlength=5) / 500
    torch.testing.assert_close(sizes, torch.full((5,), 0.2), atol=0.06, rtol=0)


def test_draws_follow_the_softmax_whatever_the_chunks() -> None:
    people, items = torch.zeros(3, 2), torch.ones(4, 2)
    drawn, weights = draw(people, items, SHARES.log(), 4000, generator(), max_logits=8)
    assert drawn.shape == weights.shape == (3, 4000)
    assert weights.unique().tolist() == [1]
    for row in drawn:
        torch.testing.assert_close(torch.bincount(row, minlength=4) / 4000, SHARES, atol=0.03, rtol=0)


@pytest.mark.parametrize("max_logits", [4, 1000])
def test_mixed_draws_are_weighted_back_to_the_softmax(max_logits: int) -> None:
    drawn, weights = draw(
        torch.zeros(3, 2),
        torch.ones(4, 2),
        SHARES.log(),
        4000,
        generator(),
        chosen=CHOSEN,
        mixture=0.4,
        max_logits=max_logits,
    )
    mixed = [0.6 * SHARES + 0.4 * torch.tensor(own) for own in ([0.5, 0, 0, 0.5], [0.0] * 4, [0.0, 1, 0, 0])]
    mixed[1] = SHARES
    for row, weight, wanted in zip(drawn, weights, mixed, strict=True):
        torch.testing.assert_close(torch.bincount(row, minlength=4) / 4000, wanted, atol=0.03, rtol=0)
        torch.testing.assert_close(weight, (SHARES / wanted)[row])


def test_nobody_has_chosen_anything() -> None:
    nothing = BagStore(sparse.csr_matrix((2, 4), dtype=np.float32)).all(CPU)
    _, weights = draw(torch.zeros(2, 1), torch.ones(4, 1), SHARES.log(), 3, generator(), chosen=nothing, mixture=0.5)
    torch.testing.assert_close(weights, torch.ones(2, 3))


def test_advantages_by_hand() -> None:
    found = advantages(torch.tensor([[1.0, -1, 0.6]]), torch.tensor([[2.0, 1, 0.5]]))
    torch.testing.assert_close(found, torch.tensor([[2 * 0.8, -1.2, 0.5 * 0.4]]) / 3)
