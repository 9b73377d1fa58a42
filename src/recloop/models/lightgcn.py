"""LightGCN: item vectors smoothed over the graph of who took what, without weights or activations.

He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020.
Shapes: B contexts, I items, U people, D dimensions, N hidden events of a batch.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.graph_cf import GraphCF, GraphCFConfig
from recloop.nn.graph import mean
from recloop.nn.hiding import completion_loss
from recloop.search import Choice, Real, Space, Whole


class LightGCNConfig(GraphCFConfig):
    """Parameters of `LightGCN`; see `GraphCFConfig` for the others.

    Attributes:
        loss: ``softmax`` over all items, ``sampled_softmax`` over `negatives` drawn for a batch, or ``bpr`` against
            one item for each event.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "layers": Whole(1, 4),
        "hidden": Real(0.0, 0.7),
    }

    loss: Literal["softmax", "sampled_softmax", "bpr"] = "softmax"


class LightGCN(GraphCF[LightGCNConfig]):
    """Scores = ``p . z_i``, with ``z_i`` (D,) the smoothed item vectors and ``p`` the normalised sum of the history's.

    See `SmoothedItems`: with layer 0 of people set to zero, so that nobody has a vector to learn, the paper's graph of
    ``2 layers + 1`` steps gives just these vectors, up to a factor. The history of a stranger is therefore propagated
    exactly like that of a training person, whose answer is the same as in the graph. An empty history gets the mean
    vector of the training people.

    Unlike in the paper, each pass hides a share of the events, smooths over the graph of the others and predicts the
    hidden ones, so an event never helps to predict itself; and the loss compares with all items a person has not taken.
    The graph is propagated anew for each batch of people.
    """

    Config = LightGCNConfig

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        smoothed = mean(self.network.travel(self._graph))
        most = self.config.negatives if self.config.loss != "softmax" else self.n_items
        questions = self._events.batch(rows, most, generator)
        people = self.network.people(questions.visible, smoothed, self._scales)
        chosen = people.index_select(0, questions.rows)
        positives = (chosen * smoothed.index_select(0, questions.targets)).sum(dim=1)
        if self.config.loss == "bpr":
            others = self._events.unseen(rows[questions.rows.cpu().numpy()], 1, generator)[:, 0]
            negatives = (chosen * smoothed.index_select(0, others)).sum(dim=1)
            return nn.functional.softplus(negatives - positives).sum() / max(1, len(positives))
        scores = people @ smoothed.index_select(0, questions.candidates).T
        return completion_loss(scores, positives, questions)
