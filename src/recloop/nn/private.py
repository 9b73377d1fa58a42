"""Gradients that say little of anybody: clipped person by person, summed over people drawn at random, and noised.

Abadi et al., "Deep learning with differential privacy", CCS 2016 (DP-SGD), with a person in the place of an example as
in McMahan, Ramage, Talwar and Zhang, "Learning differentially private recurrent language models", ICLR 2018. Norms
without gradients: Goodfellow, "Efficient per-example gradient computations", 2015.
Shapes: B people, N events of all B, U and V widths of a layer.
"""

import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recloop.nn.histories import Bags


def secret_generator(device: torch.device) -> torch.Generator:
    """A generator that nobody can set up again: whoever knew its seed could take the noise off.

    The seed is 64 bits of the system's entropy and is kept nowhere. The generator itself is torch's, which is made for
    statistics and not for cryptography.
    """
    return torch.Generator(device).manual_seed(secrets.randbits(64))


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """How much a step of training may depend on one person, and how much noise hides that.

    A step draws each person by itself with the chance `sample_rate`, adds up the gradients of those drawn, each of a
    norm of at most `max_grad_norm`, and adds normal noise of the deviation ``noise_multiplier * max_grad_norm`` to each
    number of the sum. What a step costs follows from `sample_rate` and `noise_multiplier` alone.

    Attributes:
        noise_multiplier: see above.
        max_grad_norm: see above; of the gradient of all parameters together.
        sample_rate: see above.
        steps: of a pass.
        draws: who is drawn, and the noise; see `secret_generator`.
    """

    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    steps: int
    draws: torch.Generator = field(repr=False)

    def sample(self, n_people: int) -> NDArray[np.int64]:
        """Who is drawn of people 0 to `n_people` - 1, ascending; maybe nobody."""
        chances = torch.rand(n_people, generator=self.draws, device=self.draws.device, dtype=torch.float64)
        return torch.nonzero(chances < self.sample_rate)[:, 0].cpu().numpy()

    def noised(self, sums: Sequence[Tensor], n_people: int) -> list[Tensor]:
        """The mean gradient of a step: sums with noise, divided by how many people are drawn on average.

        Args:
            sums: of each parameter, over the people drawn, of clipped gradients.
            n_people: how many there are to draw from.
        """
        deviation, expected = self.noise_multiplier * self.max_grad_norm, self.sample_rate * n_people
        return [
            (one + deviation * torch.randn(one.shape, generator=self.draws, device=one.device)) / expected
            for one in sums
        ]


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """What some people's gradients, each clipped, add up to.

    Attributes:
        sums: of each parameter.
        loss: the sum of their losses, without a gradient.
    """

    sums: list[Tensor]
    loss: Tensor


def clip_factors(squares: Tensor, max_norm: float) -> Tensor:
    """``min(1, C / |g|)``: what makes a gradient with the squared norm ``|g|^2`` one of a norm of at most C."""
    return (max_norm / squares.sqrt().clamp(min=torch.finfo(squares.dtype).tiny)).clamp(max=1)


def clipped_sum(
    gradients: Callable[[], Generator[Sequence[Tensor]]], like: Sequence[Tensor], max_norm: float
) -> list[Tensor]:
    """The sum of gradients, each clipped as a whole; works for any network, one person at a time.

    Args:
        gradients: yields the gradient of one person after the other, a tensor a parameter.
        like: the parameters.
        max_norm: C.
    """
    sums = [torch.zeros_like(parameter, requires_grad=False) for parameter in like]
    for parts in gradients():
        square = torch.stack([part.square().sum() for part in parts]).sum()
        factor = clip_factors(square, max_norm)
        for total, part in zip(sums, parts, strict=True):
            total.add_(part * factor)
    return sums


@dataclass
class Watched:
    """What went through the layers of a network.

    Attributes:
        outputs: of each layer, (B, V).
        squares: of each layer, makes of the slopes (B, V) of the outputs the squared norms (B,) of the gradients of its
            parameters, each by one person alone.
    """

    outputs: list[Tensor] = field(default_factory=list[Tensor])
    squares: list[Callable[[Tensor], Tensor]] = field(default_factory=list[Callable[[Tensor], Tensor]])


@contextmanager
def watching(layers: Sequence[nn.Module], inputs: Callable[..., Tensor]) -> Generator[Watched]:
    """Watch layers of the kind ``x W + b`` whose inputs and outputs have one row a person.

    The gradient of W is the outer product of input and slope, so its norm is the product of their norms, and that of b
    is the slope: nothing of the size of W is made for anybody.

    Args:
        layers: each called once within the block.
        inputs: given what a layer is called with, the squared norms (B,) of its input rows.
    """
    watched = Watched()

    def note(_: nn.Module, given: tuple[object, ...], output: Tensor) -> None:
        rows = inputs(*given)
        watched.outputs.append(output)
        watched.squares.append(lambda slopes: slopes.square().sum(dim=1) * (rows + 1))

    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def row_squares(first: Tensor | Bags, weights: Tensor | None = None) -> Tensor:
    """Squared norms (B,) of the rows of an input: of a matrix (B, U), or of bags whose events have `weights` (N,)."""
    if isinstance(first, Bags):
        assert weights is not None, "bags without weights"
        squares = weights.detach().square()
        return torch.zeros(len(first), device=squares.device).index_add_(0, first.rows, squares)
    return first.detach().square().sum(dim=1)
