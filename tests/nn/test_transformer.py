import torch

from recloop.nn.transformer import Block, causal_mask


def block() -> Block:
    torch.manual_seed(0)
    return Block(dim=6, heads=2, dropout=0.0).eval()


def test_the_mask_by_hand() -> None:
    mask = causal_mask(torch.tensor([[False, True, True], [True, True, True]]))
    assert mask.shape == (2, 1, 3, 3)
    assert mask[0, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert mask[1, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_no_position_sees_what_comes_later() -> None:
    states = torch.randn(2, 5, 6)
    changed = states.clone()
    changed[:, 3:] += 1
    mask = causal_mask(torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(block()(states, mask)[:, :3], block()(changed, mask)[:, :3])


def test_padding_on_the_left_is_never_seen() -> None:
    states = torch.randn(2, 4, 6)
    padded = torch.cat([100 * torch.randn(2, 3, 6), states], dim=1)
    present = torch.tensor([[False] * 3 + [True] * 4] * 2)
    short = block()(states, causal_mask(torch.ones(2, 4, dtype=torch.bool)))
    torch.testing.assert_close(block()(padded, causal_mask(present))[:, 3:], short)


def test_the_newest_alone_is_the_last_of_all() -> None:
    states = torch.randn(3, 4, 6)
    mask = causal_mask(torch.tensor([[True] * 4, [False, True, True, True], [False, False, False, True]]))
    newest = block()(states, mask, newest_only=True)
    assert newest.shape == (3, 1, 6)
    torch.testing.assert_close(newest, block()(states, mask)[:, -1:])
