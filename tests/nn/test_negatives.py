import torch

from recloop.nn.negatives import uniform


def test_draws_are_in_range_cover_all_items_and_follow_the_generator() -> None:
    first = uniform(5, 1000, torch.Generator().manual_seed(1))
    assert first.shape == (1000,)
    assert first.dtype == torch.int64
    assert first.unique().tolist() == [0, 1, 2, 3, 4]
    assert first.bincount().min() > 150
    assert torch.equal(first, uniform(5, 1000, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, uniform(5, 1000, torch.Generator().manual_seed(2)))
