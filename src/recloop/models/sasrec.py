"""SASRec: self-attention over the history predicts what comes next.

Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018; trained with the softmax over the catalogue as
in Klenitskiy and Vasilev, "Turning dross into gold loss", RecSys 2023, which beats one sampled negative by far.
Shapes: B contexts, I items, D dimensions, L positions, W windows of training.
"""

from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.losses import sampled_softmax_loss, softmax_loss
from recloop.nn.negatives import uniform
from recloop.nn.products import inner_products
from recloop.nn.transformer import Block, causal_mask

_PADDING = -1


class SASRecConfig(NeuralConfig):
    """Parameters of `SASRec`.

    Attributes:
        dim: length of the vectors, D.
        layers: attention blocks.
        heads: of each block, a divisor of `dim`.
        dropout: share of activations set to zero in training.
        max_length: newest events that the model looks at, L.
        loss: ``softmax`` over all items, or ``sampled_softmax`` over the target and `negatives` drawn items.
        negatives: items drawn for each batch, for ``sampled_softmax``.

    A training example is a window of `max_length` events.
    """

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    max_length: int = Field(default=50, ge=1)
    loss: Literal["softmax", "sampled_softmax"] = "softmax"
    negatives: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        return self


class _Network(nn.Module):
    """Item embeddings, positions counted back from the newest, and blocks; index I is the start of every history."""

    def __init__(self, config: SASRecConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.positions = nn.Parameter(torch.empty(config.max_length, config.dim))
        self.drop = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights of deviation 0.02, zero biases, norms of one."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02, generator=generator)
            else:
                nn.init.constant_(parameter, float("norm.weight" in name or name.endswith("feedforward.0.weight")))

    @override
    def forward(self, sequences: Tensor, *, newest_only: bool = False) -> Tensor:
        """States after each position (B, L, D), or after the newest (B, D); `sequences` (B, L) is -1 where padded."""
        present = sequences >= 0
        mask = causal_mask(present)
        scale = self.items.embedding_dim**0.5
        states = self.items(sequences.clamp(min=0)) * scale + self.positions[-sequences.shape[1] :]
        states = self.drop(states) * present[:, :, None]
        for index, block in enumerate(self.blocks):
            states = block(states, mask, newest_only=newest_only and index == len(self.blocks) - 1)
        return self.norm(states[:, -1] if newest_only else states)


class SASRec(NeuralModel[SASRecConfig, _Network]):
    """Scores = ``h . e_i``, with ``h`` (D,) the state after the newest event and ``e_i`` (D,) the items' embeddings.

    Every history begins with a start token, so an empty one is answered with what people begin with. Training cuts the
    history, token included, into windows of `max_length` events from the newest back, and predicts at each position the
    next item, all at once. Scoring looks at the newest `max_length` events. Positions count back from the newest and
    padding is never attended to, so neither the length nor the company of a batch matters. On CUDA, training multiplies
    matrices in bfloat16; scores are computed in float32 everywhere. The randomness of an epoch follows from the seed
    and the epoch's number alone, so training resumes exactly.
    """

    Config = SASRecConfig
    needs = frozenset({"timestamps"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        self._windows = _Windows(_with_start(data.histories, self.n_items), self.config.max_length)
        return len(self._windows)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        sequences, targets = (part.to(self.device) for part in self._windows.batch(rows))
        hidden = self.network(sequences)[sequences >= 0]
        items = self.item_vectors()
        if self.config.loss == "softmax":
            return softmax_loss(hidden, items, targets)
        sampled = uniform(self.n_items, self.config.negatives, generator)
        return sampled_softmax_loss(hidden, items, targets, sampled)

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return inner_products(self.user_vectors(contexts), self.item_vectors().detach())

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        started = _with_start(contexts, self.n_items)
        length = min(self.config.max_length, int(started.lengths.max(initial=1)))
        sequences = torch.from_numpy(started.padded(length, _PADDING)).to(self.device)
        return self.network(sequences, newest_only=True)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items.weight[: self.n_items]


class _Windows:
    """Histories cut into W windows of at most L predictions, from the newest back; every event is predicted once.

    Args:
        histories: with the start token.
        length: L.
    """

    def __init__(self, histories: Contexts, length: int) -> None:
        events = histories.lengths - 1
        counts = -(-events // length)
        before = np.cumsum(counts) - counts
        back = np.arange(counts.sum()) - np.repeat(before, counts)
        self._items = histories.items
        self._firsts = np.repeat(histories.offsets[:-1], counts)
        self._stops = np.repeat(histories.offsets[1:], counts) - back * length
        self._length = length

    def __len__(self) -> int:
        return len(self._stops)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The windows at `rows`, padded to the longest, int64 (B, L'); and what follows each of their items, (N,)."""
        sizes = np.minimum(self._stops[rows] - self._firsts[rows] - 1, self._length)
        source = self._stops[rows, None] - 1 + np.arange(-int(sizes.max()), 0)
        present = source >= (self._stops[rows] - 1 - sizes)[:, None]
        sequences = np.where(present, self._items[source], _PADDING)
        return torch.from_numpy(sequences), torch.from_numpy(self._items[source[present] + 1])


def _with_start(contexts: Contexts, start: int) -> Contexts:
    """The same histories, each preceded by the item index `start`."""
    at = contexts.offsets[:-1]
    return Contexts(
        offsets=contexts.offsets + np.arange(len(contexts) + 1),
        items=np.insert(contexts.items, at, start),
        timestamps=np.insert(contexts.timestamps, at, 0),
        values=np.insert(contexts.values, at, 0),
        features=contexts.features,
    )
