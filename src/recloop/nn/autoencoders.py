"""Parts of autoencoders of histories: work and memory follow the events, and logits come a chunk at a time.

Liang et al., "Variational autoencoders for collaborative filtering", WWW 2018, for the multinomial likelihood.
Shapes: B people, I items, H width of the last hidden layer, N events of all B histories, T targets, W width of a layer.
"""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.nn.histories import Bags, bag_sums
from recloop.nn.losses import rows_at_once
from recloop.nn.products import inner_products

MAX_LOGITS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What each of B people took, in compressed rows.

    Attributes:
        offsets: int64 (B + 1,); person b's targets are the slice ``offsets[b]:offsets[b + 1]`` of the columns below.
        items: int64 (T,).
        weights: float32 (T,), how much each counts.
    """

    offsets: Tensor
    items: Tensor
    weights: Tensor


def with_nobody(bags: Bags) -> Bags:
    """The bags and an empty one after them, (B + 1)."""
    return Bags(offsets=torch.cat([bags.offsets, bags.offsets[-1:]]), rows=bags.rows, items=bags.items)


def own_targets(bags: Bags, weights: Tensor | None = None) -> Targets:
    """The targets of each person alone: the own items, each counting 1, or what the person has in `weights` (B,)."""
    counts = torch.ones(len(bags.items), device=bags.items.device) if weights is None else weights[bags.rows]
    return Targets(offsets=bags.offsets, items=bags.items, weights=counts)


def targets_with_nobody(bags: Bags) -> Targets:
    """The targets of `with_nobody`: of each person the own items, of nobody those of all B, each counting ``1 / B``.

    So an autoencoder learns from every batch what to answer to an empty history: what people take on average.
    """
    own = torch.ones(len(bags.items), device=bags.items.device)
    return Targets(
        offsets=torch.cat([bags.offsets, bags.offsets[-1:] * 2]),
        items=bags.items.repeat(2),
        weights=torch.cat([own, own / max(1, len(bags))]),
    )


def unit_weights(bags: Bags) -> Tensor:
    """``1 / sqrt(n)`` for each event of a history of n items, float32 (N,): every history gets length 1."""
    return bags.lengths.clamp(min=1).float().rsqrt()[bags.rows]


class BagLinear(nn.Module):
    """``sum of w_n * V[i_n] over the events n of a person + b``: the first layer, without a people x items matrix.

    Args:
        n_items: I.
        width: W.
    """

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_items, width))
        self.bias = nn.Parameter(torch.empty(width))

    @override
    def forward(self, bags: Bags, weights: Tensor) -> Tensor:
        """(B, W) for the `weights` (N,) of the events."""
        return bag_sums(self.weight, bags, weights.to(self.weight.dtype)) + self.bias


class Linear(nn.Linear):
    """A linear layer that outside training gives a person the same answer whoever else is in the batch."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        """(B, W) for `input` (B, V); outside training without a gradient, summed in float64."""
        if self.training:
            return super().forward(input)
        return inner_products(input, self.weight) + self.bias


class Encoder(nn.Module):
    """Bags to vectors: layers with tanh between them, none after the last.

    Args:
        n_items: I.
        widths: of the layers, at least one.
    """

    def __init__(self, n_items: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.first = BagLinear(n_items, widths[0])
        self.rest = nn.ModuleList(Linear(*pair) for pair in itertools.pairwise(widths))

    @override
    def forward(self, bags: Bags, weights: Tensor) -> Tensor:
        """(B, W) for the `weights` (N,) of the events."""
        states = self.first(bags, weights)
        for layer in self.rest:
            states = layer(states.tanh())
        return states


class Decoder(nn.Module):
    """Vectors to a hidden layer, whose products with the items' vectors, plus their biases, are the logits.

    Args:
        widths: of the input and of each hidden layer, at least one; tanh follows each hidden layer.
        n_items: I.
    """

    def __init__(self, widths: Sequence[int], n_items: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(Linear(*pair) for pair in itertools.pairwise(widths))
        self.items = nn.Parameter(torch.empty(n_items, widths[-1]))
        self.bias = nn.Parameter(torch.empty(n_items))

    @override
    def forward(self, states: Tensor) -> Tensor:
        """The last hidden layer, (B, H)."""
        for layer in self.hidden:
            states = layer(states).tanh()
        return states

    def item_vectors(self) -> Tensor:
        """Vectors and biases, (I, H + 1)."""
        return torch.cat([self.items, self.bias[:, None]], dim=1).detach()


def with_one(states: Tensor) -> Tensor:
    """`states` (B, H) and a one each, (B, H + 1): its product with `Decoder.item_vectors` is the logits."""
    return torch.cat([states, states.new_ones(len(states), 1)], dim=1)


def cosines(vectors: Tensor, items: list[int]) -> Tensor:
    """The cosine of the vectors (I, D) of each of `items` (B,) with all, float32 (B, I)."""
    unit = nn.functional.normalize(vectors.detach(), dim=1)
    return unit[torch.as_tensor(items, device=unit.device)] @ unit.T


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of variance ``2 / (rows + columns)`` after Glorot and Bengio, zero biases, norms of one."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=(2 / sum(parameter.shape)) ** 0.5, generator=generator)
        else:
            nn.init.constant_(parameter, float("norm" in name and name.endswith("weight")))


def multinomial_loss(
    hidden: Tensor, items: Tensor, bias: Tensor, targets: Targets, max_logits: int = MAX_LOGITS
) -> Tensor:
    """``-1/B sum_b sum_t w_t log softmax_i(hidden_b . item_i + bias_i)[i_t]`` over the targets t of each person b.

    Gradients are computed along with the loss, a chunk of people at a time (see `rows_at_once`), whatever B x I is.

    Args:
        hidden: (B, H), B > 0.
        items: (I, H).
        bias: (I,).
        targets: of the B people; weights may be negative.
        max_logits: see above.
    """
    chunk = rows_at_once(len(items), max_logits)
    return _Multinomial.apply(hidden, items, bias, targets, chunk)  # pyright: ignore[reportReturnType]


def multinomial_slopes(
    hidden: Tensor, items: Tensor, bias: Tensor, targets: Targets, max_logits: int = MAX_LOGITS
) -> tuple[Tensor, Tensor, Tensor]:
    """What `multinomial_loss` of each person alone does to the logits and to `hidden`, without a gradient of its own.

    Args: those of `multinomial_loss`.

    Returns:
        The squared norms (B,) of the slopes of each person's logits, the slopes (B, H) of `hidden`, and the sum of the
        losses.
    """
    squares, to_hidden = hidden.new_empty(len(hidden)), torch.empty_like(hidden)
    total = torch.zeros((), device=hidden.device)
    for part, slope, loss in _slopes(hidden, items, bias, targets, rows_at_once(len(items), max_logits)):
        squares[part] = slope.square().sum(dim=1)
        to_hidden[part] = slope @ items
        total += loss
    return squares, to_hidden, total


def _slopes(
    hidden: Tensor, items: Tensor, bias: Tensor, targets: Targets, chunk: int
) -> Generator[tuple[slice, Tensor, Tensor]]:
    """For each chunk of people: which, the slopes (chunk, I) of the sum of their losses by the logits, and that sum."""
    bounds = targets.offsets[[*range(0, len(hidden), chunk), len(hidden)]].tolist()
    rows = torch.repeat_interleave(targets.offsets.diff())
    mass = torch.zeros(len(hidden), device=hidden.device).index_add_(0, rows, targets.weights)
    for start, (first, last) in zip(range(0, len(hidden), chunk), itertools.pairwise(bounds), strict=True):
        part = slice(start, start + chunk)
        slope = torch.addmm(bias, hidden[part], items.T).float()
        slope -= slope.amax(dim=1, keepdim=True)
        at = (rows[first:last] - start) * len(items) + targets.items[first:last]
        weights = targets.weights[first:last]
        loss = -(slope.view(-1).index_select(0, at) @ weights)
        sums = slope.exp_().sum(dim=1)
        loss += sums.log() @ mass[part]
        slope.mul_((mass[part] / sums)[:, None]).view(-1).index_add_(0, at, weights, alpha=-1)
        yield part, slope.to(hidden.dtype), loss


class _Multinomial(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, hidden: Tensor, items: Tensor, bias: Tensor, targets: Targets, chunk: int) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        to_hidden, to_items, to_bias = torch.empty_like(hidden), torch.zeros_like(items), torch.zeros_like(bias)
        for part, slope, loss in _slopes(hidden, items, bias, targets, chunk):
            total += loss
            to_hidden[part] = slope @ items
            if ctx.needs_input_grad[1]:
                if slope.dtype == items.dtype:
                    to_items.addmm_(slope.T, hidden[part])
                else:
                    to_items += slope.T @ hidden[part]
                to_bias += slope.sum(dim=0)
        ctx.save_for_backward(to_hidden, to_items, to_bias)
        return total / len(hidden)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        to_hidden, to_items, to_bias = ctx.saved_tensors
        scale = grad_outputs[0] / len(to_hidden)
        return to_hidden * scale, to_items * scale, to_bias * scale, None, None
