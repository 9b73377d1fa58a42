"""A causal transformer over sequences that are padded on the left.

Vaswani et al., "Attention is all you need", NeurIPS 2017; normalisation before each layer as in Xiong et al., "On layer
normalization in the transformer architecture", ICML 2020.
Shapes: B sequences, L positions, D dimensions, H heads.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.nn.dropout import Dropout


def causal_mask(present: Tensor) -> Tensor:
    """Which position may look at which, bool (B, 1, L, L), for `present` bool (B, L), false where padded.

    A position sees itself and all that came before it, but no padding; padding sees only itself, so that every row of
    the attention has something to attend to.
    """
    length = present.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=present.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=present.device)
    return ((earlier & present[:, None, :]) | itself)[:, None]


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + feedforward(norm(x))``, with dropout at the end of both branches.

    The feedforward layer is D wide inside too, as in SASRec. Attention weights are not dropped, so that attention is
    computed without writing them down.

    Args:
        dim: D.
        heads: H, a divisor of D.
        dropout: share of activations set to zero in training.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.project = nn.Linear(dim, dim)
        self.feedforward = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.drop = Dropout(dropout)

    @override
    def forward(self, states: Tensor, mask: Tensor, *, newest_only: bool = False) -> Tensor:
        """New states (B, L, D), or (B, 1, D) of the last position alone.

        Args:
            states: (B, L, D).
            mask: bool (B, 1, L, L), see `causal_mask`.
            newest_only: compute no other position's result.
        """
        normed = self.attention_norm(states)
        if newest_only:
            states, mask = states[:, -1:], mask[:, :, -1:]
        query = self._by_head(self.query(normed[:, -states.shape[1] :]))
        key, value = (self._by_head(part) for part in self.key_value(normed).chunk(2, dim=2))
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        states = states + self.drop(self.project(attended.transpose(1, 2).flatten(2)))
        return states + self.drop(self.feedforward(states))

    def _by_head(self, states: Tensor) -> Tensor:
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)
