import math
from collections.abc import Generator, Sequence

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn

from recloop.nn.histories import BagStore
from recloop.nn.private import Mechanism, clip_factors, clipped_sum, row_squares, secret_generator, watching

CPU = torch.device("cpu")


def mechanism(**changed: float) -> Mechanism:
    values = {"noise_multiplier": 0.0, "max_grad_norm": 2.0, "sample_rate": 0.25, "steps": 4} | changed
    return Mechanism(draws=torch.Generator().manual_seed(5), **values)  # pyright: ignore[reportArgumentType]


def test_short_gradients_are_kept_and_long_ones_get_the_largest_norm() -> None:
    assert clip_factors(torch.tensor([0.0, 1, 4, 16]), 2.0).tolist() == pytest.approx([1, 1, 1, 0.5])


def test_each_person_is_clipped_as_a_whole_before_the_sum() -> None:
    """By hand: norms 5 and 0.5 with C = 1 leave (3, 4) / 5 and all of (0.3, 0.4)."""

    def gradients() -> Generator[Sequence[Tensor]]:
        yield torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])
        yield torch.tensor([0.3, 0.0]), torch.tensor([[0.4]])

    like = [torch.zeros(2, requires_grad=True), torch.zeros(1, 1, requires_grad=True)]
    first, second = clipped_sum(gradients, like, 1.0)
    assert first.tolist() == pytest.approx([0.6 + 0.3, 0])
    assert second.tolist() == [pytest.approx([0.8 + 0.4])]
    assert not first.requires_grad


def test_everybody_is_drawn_by_themselves_with_the_same_chance() -> None:
    how = mechanism()
    drawn = [how.sample(1000) for _ in range(200)]
    sizes = np.array([len(one) for one in drawn])
    assert sizes.mean() == pytest.approx(250, abs=4 * math.sqrt(1000 * 0.25 * 0.75 / 200))
    assert sizes.std() == pytest.approx(math.sqrt(1000 * 0.25 * 0.75), rel=0.2)
    assert all((np.diff(one) > 0).all() for one in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=1000)
    assert counts.std() == pytest.approx(math.sqrt(200 * 0.25 * 0.75), rel=0.15)


def test_all_are_drawn_at_rate_one_and_nobody_of_nobody() -> None:
    assert mechanism(sample_rate=1.0).sample(7).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert mechanism().sample(0).tolist() == []


def test_a_sum_is_divided_by_how_many_are_drawn_on_average() -> None:
    """Not by how many were: that number would tell who was there."""
    (mean,) = mechanism().noised([torch.tensor([[10.0, -20.0, 0.0]])], 40)
    assert mean.tolist() == [[1, -2, 0]]


def test_noise_is_normal_with_the_deviation_of_the_mechanism() -> None:
    how = mechanism(noise_multiplier=1.5)
    first, second = how.noised([torch.zeros(200, 300), torch.zeros(60_000)], 40)
    wanted = 1.5 * 2 / (0.25 * 40)
    for noise in (first, second):
        assert noise.std().item() == pytest.approx(wanted, rel=0.02)
        assert noise.mean().item() == pytest.approx(0, abs=5 * wanted / math.sqrt(60_000))
        assert (noise.abs() < wanted).double().mean().item() == pytest.approx(math.erf(math.sqrt(0.5)), abs=0.01)
    assert not torch.equal(first.flatten(), second)


def test_noise_cannot_be_drawn_again() -> None:
    draws = [torch.randn(8, generator=secret_generator(CPU)) for _ in range(2)]
    assert not torch.equal(*draws)
    torch.manual_seed(0)
    third = torch.randn(8, generator=secret_generator(CPU))
    torch.manual_seed(0)
    assert not torch.equal(third, torch.randn(8, generator=secret_generator(CPU)))


def test_rows_of_bags_are_weighed() -> None:
    bags = BagStore(sparse.csr_matrix(np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=np.float32))).all(CPU)
    assert row_squares(bags, torch.tensor([2.0, 1.0, 3.0])).tolist() == [5, 0, 9]
    assert row_squares(torch.tensor([[3.0, 4.0], [1.0, 0.0]])).tolist() == [25, 1]


def test_what_is_watched_gives_the_norms_of_each_persons_gradient() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    rows = torch.randn(4, 3)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    with watching(layers, row_squares) as watched:
        losses = network(rows).square().sum(dim=1)
    slopes = torch.autograd.grad(losses.sum(), watched.outputs)
    found = torch.stack([square(slope) for square, slope in zip(watched.squares, slopes, strict=True)]).sum(dim=0)
    for row, square in zip(rows, found, strict=True):
        parts = torch.autograd.grad(network(row).square().sum(), list(network.parameters()))
        assert square.item() == pytest.approx(sum(part.square().sum().item() for part in parts), rel=1e-5)
    with torch.no_grad():
        network(rows)
    assert len(watched.outputs) == 2, "the hooks are gone"
