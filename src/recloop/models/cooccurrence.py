"""What people took right after the item that was taken last: a first-order Markov chain of the catalogue.

Counts of neighbours within a window as in Ludewig and Jannach, "Evaluation of session-based recommendation algorithms",
UMUAI 2018 (association and sequential rules); the prior is that of Zhai and Lafferty, "A study of smoothing methods for
language models applied to ad hoc information retrieval", SIGIR 2001.
Shapes: B contexts, I items, N training events, W window, K neighbours, b items of a block.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody, check_needs
from recloop.nn.gram import BLOCK_ENTRIES, blocks_of, clear_diagonal
from recloop.nn.neighbours import nearest, pack, unpack
from recloop.search import Real, Space, Whole


class CooccurrenceConfig(ModelConfig):
    """Parameters of `Cooccurrence`.

    Attributes:
        window: events of one person that are at most this many apart occur together, W.
        direction: ``after`` counts what followed an item, ``both`` what came before it too, which is better where
            events are entered together, in any order.
        lift: exponent on the popularity that an item's share is divided by: 0 asks what is likely next, 1 what is more
            likely than usual, whatever its popularity.
        shrink: events of the prior: an item seen fewer times is answered mostly by popularity.
        neighbors: items kept for each, those that occur with it most often, K.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "window": Whole(1, 50, log=True),
        "lift": Real(0.0, 1.0),
        "shrink": Real(0.1, 100.0, log=True),
    }

    window: int = Field(default=5, ge=1)
    direction: Literal["after", "both"] = "both"
    lift: float = Field(default=0.0, ge=0, le=1)
    shrink: float = Field(default=10.0, gt=0)
    neighbors: int = Field(default=200, ge=1)


class Cooccurrence(Model[CooccurrenceConfig]):
    """Score of item j after the item i that a history ends with = ``P(j | i) / P(j) ** lift``.

    ``P(j | i) = (c_ij + shrink P(j)) / (sum_k c_ik + shrink)``, where ``c_ij`` counts the pairs of events of i and j at
    most `window` apart in one person's history and k runs over the neighbours kept for i; an item is not its own
    neighbour. ``P(j)`` is j's share of all events, each item counting one event more than it has. Older events of the
    history play no role. An empty history gets ``P``.

    Sequential rules, in the paper, count a pair less the further apart it is; here all of a window count alike, and the
    prior answers where there are no rules.
    """

    Config = CooccurrenceConfig
    needs = frozenset({"timestamps"})

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        check_needs(type(self), data)
        events = data.histories
        counts = np.bincount(events.items, minlength=self.n_items) + 1.0
        blocks = context.progress(self._blocks(events), self.name())
        together = nearest(blocks, self.config.neighbors, self.n_items)
        shares = torch.from_numpy((counts / counts.sum()).astype(np.float32))
        self.load_tensors({**pack(together, "counts"), "popularity": shares})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        known = contexts.lengths > 0
        last = np.zeros(len(contexts), dtype=np.int64)
        last[known] = contexts.items[contexts.offsets[1:][known] - 1]
        counts = torch.from_numpy(self._together[last].toarray()).to(self.device)
        prior = self.config.shrink * self._popularity
        likely = (counts + prior) / (self._totals[torch.from_numpy(last)].to(self.device)[:, None] + self.config.shrink)
        return answer_nobody(likely / self._popularity**self.config.lift, contexts, self._popularity)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {**pack(self._together, "counts"), "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        offsets = self._tensor(tensors, "offsets", (self.n_items + 1,))
        neighbors = self._tensor(tensors, "neighbors", (None,))
        counts = self._tensor(tensors, "counts", (len(neighbors),))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))
        self._together = unpack(offsets, neighbors, counts, self.n_items)
        self._totals = torch.from_numpy(np.asarray(self._together.sum(axis=1)).ravel().astype(np.float32))

    def _blocks(self, events: Contexts) -> Iterator[sparse.csr_matrix]:
        """``c``, float32 (b, I), with a diagonal of 0: events of each item, times what lies around each event."""
        rows, places = events.rows, np.argsort(events.items, kind="stable")
        counts = np.bincount(events.items, minlength=self.n_items)
        starts = np.concatenate([[0], np.cumsum(counts)])
        steps = np.arange(1, min(self.config.window, int(events.lengths.max(initial=0)) - 1) + 1)
        steps = steps if self.config.direction == "after" else np.concatenate([steps, -steps])
        for first, stop in blocks_of(counts * len(steps), BLOCK_ENTRIES):
            here = places[starts[first] : starts[stop]]
            there = here[:, None] + steps
            inside = (there >= 0) & (there < len(rows))
            inside &= rows[np.where(inside, there, 0)] == rows[here, None]
            around = _ones(events.items[there[inside]], inside.sum(axis=1), self.n_items)
            together = sparse.csr_matrix(_ones(np.arange(len(here)), counts[first:stop], len(here)) @ around)
            clear_diagonal(together, first)
            yield together


def _ones(columns: NDArray[np.int64], lengths: NDArray[np.int64], width: int) -> sparse.csr_matrix:
    """1 at the `columns` of consecutive rows of these `lengths`, float32; repeats add up."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), columns, offsets), shape=(len(lengths), width))
