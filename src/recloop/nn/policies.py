"""A softmax over all items as a policy that draws items for people, and what it learns from rewards.

Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine Learning
1992.
Shapes: B people, I items, D dimensions, K draws for each person, N events of all B histories.
"""

import torch
from torch import Tensor

from recloop.nn.autoencoders import MAX_LOGITS
from recloop.nn.histories import Bags
from recloop.nn.negatives import Unseen


def split(bags: Bags, generator: torch.Generator) -> tuple[Bags, Bags]:
    """Each history in two at random: what is shown and what is left out; the expected share of the first is uniform."""
    shares = torch.rand(len(bags), generator=generator, device=generator.device)
    shown = torch.rand(len(bags.rows), generator=generator, device=generator.device) < shares[bags.rows]
    return _only(bags, shown), _only(bags, ~shown)


def draw(
    people: Tensor,
    items: Tensor,
    bias: Tensor,
    count: int,
    generator: torch.Generator,
    *,
    chosen: Bags | None = None,
    mixture: float = 0.0,
    max_logits: int = MAX_LOGITS,
) -> tuple[Tensor, Tensor]:
    """`count` items for each person from ``q = (1 - mixture) p + mixture * c``, with replacement, and ``p / q``.

    ``p`` is the softmax of ``person . item_i + bias_i`` over all items and ``c`` is uniform over what the person has
    chosen; q is p for who has chosen nothing. At most `max_logits` logits (or one person's) exist at once.

    Args:
        people: (B, D).
        items: (I, D).
        bias: (I,).
        count: K.
        generator: on the device of the others.
        chosen: of the B people.
        mixture: from 0 to below 1; 0 without `chosen`.
        max_logits: see above.

    Returns:
        The items, int64 (B, K), and ``p / q`` of each, float32 (B, K).
    """
    drawn = torch.empty(len(people), count, dtype=torch.int64, device=people.device)
    likely = torch.empty(len(people), count, device=people.device)
    rows = max(1, max_logits // len(items))
    with torch.no_grad():
        for start in range(0, len(people), rows):
            part = slice(start, start + rows)
            shares = torch.addmm(bias, people[part], items.T).float().softmax(dim=1)
            drawn[part] = torch.multinomial(shares, count, replacement=True, generator=generator)
            if chosen is not None:
                drawn[part] = _mixed(drawn[part], part, chosen, mixture, generator)
            likely[part] = shares.gather(1, drawn[part])
    if chosen is None or not mixture:
        return drawn, torch.ones_like(likely)
    own = Unseen(chosen.rows, chosen.items, len(items), people.device)
    person = torch.arange(len(people), device=people.device)[:, None]
    uniform = own.taken(person, drawn).float() / chosen.lengths.clamp(min=1)[:, None]
    share = mixture * (chosen.lengths > 0).float()[:, None]
    return drawn, likely / ((1 - share) * likely + share * uniform)


def advantages(rewards: Tensor, weights: Tensor) -> Tensor:
    """``w_k (r_k - mean of r) / K`` for each of the K draws of each person, (B, K)."""
    return weights * (rewards - rewards.mean(dim=1, keepdim=True)) / rewards.shape[1]


def _mixed(drawn: Tensor, part: slice, chosen: Bags, mixture: float, generator: torch.Generator) -> Tensor:
    """`drawn` (b, K) with a share `mixture` of the draws replaced by chosen items, where there are any."""
    lengths, starts = chosen.lengths[part], chosen.offsets[:-1][part]
    coins, places = torch.rand(2, *drawn.shape, generator=generator, device=generator.device)
    picked = starts[:, None] + (places * lengths[:, None]).long().clamp(max=(lengths - 1).clamp(min=0)[:, None])
    real = (coins < mixture) & (lengths > 0)[:, None]
    return torch.where(real, chosen.items[picked.where(real, 0)], drawn) if len(chosen.items) else drawn


def _only(bags: Bags, kept: Tensor) -> Bags:
    """The events where `kept` (N,)."""
    rows = bags.rows[kept]
    counts = torch.bincount(rows, minlength=len(bags))
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Bags(offsets=offsets, rows=rows, items=bags.items[kept])
