"""A transformer over sequences of different lengths, computed without padding.

Vaswani et al., "Attention is all you need", NeurIPS 2017; normalisation before each layer as in Xiong et al., "On layer
normalization in the transformer architecture", ICML 2020.
Shapes: B sequences, M events of all of them, W of them wanted, L positions of the longest, D dimensions, H heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.nn.dropout import Dropout
from recloop.nn.packing import Packing, pick


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of deviation 0.02, zero biases, and ones for the scales of the norms."""
    scales = {id(module.weight) for module in network.modules() if isinstance(module, nn.LayerNorm)}
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02, generator=generator)
        else:
            nn.init.constant_(parameter, float(id(parameter) in scales))


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool = False) -> Tensor:
    """``softmax(q k' / sqrt(D / H)) v`` of each head, (B, H, L, D / H), where `mask` and the order of events allow.

    On a CPU in float32 also under autocast: there torch takes six times as long for the gradients in bfloat16.
    """
    if query.device.type != "cpu":
        return nn.functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        parts = (query.float(), key.float(), value.float())
        return nn.functional.scaled_dot_product_attention(*parts, mask, is_causal=causal)


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + feedforward(norm(x))``, with dropout at the end of both branches.

    The feedforward layer is `width` times D wide inside. Attention weights are not dropped, so that attention is
    computed without writing them down.

    Args:
        dim: D.
        heads: H, a divisor of D.
        dropout: share of activations set to zero in training.
        causal: whether an event sees itself and those before it alone, or all of its sequence.
        width: see above; 1 as in SASRec.
    """

    def __init__(self, dim: int, heads: int, dropout: float, *, causal: bool = True, width: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.attention_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.project = nn.Linear(dim, dim)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, width * dim), nn.GELU(), nn.Linear(width * dim, dim)
        )
        self.drop = Dropout(dropout)

    @override
    def forward(
        self, states: Tensor, packing: Packing, *, newest_only: bool = False, wanted: Tensor | None = None
    ) -> Tensor:
        """New states (M, D); (B, D) of the newest event of each sequence alone; or (W, D) of the events `wanted`.

        Args:
            states: (M, D).
            packing: whose events these are.
            newest_only: compute no other event's result.
            wanted: int64 (W,), ascending; compute no other event's result. Not with a causal block.
        """
        normed = self.attention_norm(states)
        if newest_only:
            states = states[packing.newest]
            attended = self._newest(self.query(normed[packing.newest]), self.key_value(normed), packing)
        elif wanted is not None:
            states = pick(states, wanted)
            attended = self._attended(pick(normed, wanted), normed, packing.picked(wanted), packing)
        else:
            attended = self._attended(normed, normed, packing.parts, packing)
        states = states + self.drop(self.project(attended))
        return states + self.drop(self.feedforward(states))

    def _attended(self, asking: Tensor, normed: Tensor, askers: Sequence[Packing], packing: Packing) -> Tensor:
        """What the events `asking` (W, D) gather of all, (W, D); `askers` are packed as the parts of `packing` are."""
        queries = self.query(asking).split([len(part.ages) for part in askers])
        others = self.key_value(normed).split(packing.events_each)
        return torch.cat(list(map(self._attend, queries, others, askers, packing.parts)))

    def _attend(self, query: Tensor, key_value: Tensor, asking: Packing, packing: Packing) -> Tensor:
        """What each event gathers, (W, D), of queries (W, D), keys and values (M, 2 D)."""
        key, value = (self._by_head(part) for part in packing.rows(key_value).chunk(2, dim=2))
        # rows begin together, so under the causal mask no event can see what lies behind the end of its sequence
        mask = None if self.causal else packing.present[:, None, None]
        attended = attention(self._by_head(asking.rows(query)), key, value, mask, causal=self.causal)
        return asking.events(attended.transpose(1, 2).flatten(2))

    def _newest(self, query: Tensor, key_value: Tensor, packing: Packing) -> Tensor:
        """What the newest event of each sequence gathers, (B, D), of queries (B, D), keys and values (M, 2 D)."""
        key, value = (self._by_head(part) for part in packing.rows(key_value).chunk(2, dim=2))
        mask = packing.present[:, None, None]
        return attention(self._by_head(query[:, None]), key, value, mask).flatten(1)

    def _by_head(self, states: Tensor) -> Tensor:
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)
