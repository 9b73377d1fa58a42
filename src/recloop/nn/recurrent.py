"""Recurrent networks over histories of different lengths.

Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP 2014
(GRU); Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 1997 (LSTM); Elman, "Finding structure
in time", Cognitive Science 1990 (plain).
Shapes: B sequences, L positions of the longest, D dimensions.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

Cell = Literal["gru", "lstm", "rnn"]
_CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class Recurrence(nn.Module):
    """A stack of recurrent layers of one kind, all D wide, beginning from states of zeros.

    Args:
        cell: ``gru``, ``lstm``, or ``rnn``: tanh without gates.
        dim: D.
        layers: how many.
        dropout: share of activations between layers set to zero in training.
    """

    def __init__(self, cell: Cell, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.cells = _CELLS[cell](dim, dim, num_layers=layers, dropout=between, batch_first=True)

    def initialise(self, generator: torch.Generator) -> None:
        """All weights uniform up to ``1 / sqrt(D)``."""
        bound = self.cells.hidden_size**-0.5
        for parameter in self.cells.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """The state after each position, float32 (B, L, D), for `inputs` (B, L, D); always in full precision.

        A state depends on what came before and on nothing after, so padding behind a sequence does not matter.
        """
        if not len(inputs):
            return inputs
        with torch.autocast(inputs.device.type, enabled=False):
            return self.cells(inputs.float())[0]
