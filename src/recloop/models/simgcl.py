"""SimGCL: the graph of who took what, and vectors that small noise does not move apart.

Yu et al., "Are graph augmentations necessary? Simple graph contrastive learning for recommendation", SIGIR 2022; in the
form of Yu et al., "XSimGCL: towards extremely simple graph contrastive learning for recommendation", TKDE 2023, which
needs one propagation where the first needs three.
Shapes: B contexts, I items, U people, D dimensions, N hidden events of a batch, n vectors that are compared.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.graph_cf import GraphCF, GraphCFConfig
from recloop.nn.graph import mean
from recloop.nn.hiding import completion_loss
from recloop.search import Choice, Real, Space, Whole


class SimGCLConfig(GraphCFConfig):
    """Parameters of `SimGCL`; see `GraphCFConfig` for the others.

    Attributes:
        layers: at least one.
        eps: length of the noise added to each vector at each stop.
        temperature: of the contrastive loss.
        weight: of the contrastive loss, beside the recommendation loss.
        loss: ``softmax`` over all items, or ``sampled_softmax`` over `negatives` drawn for a batch.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "layers": Whole(1, 4),
        "eps": Real(0.01, 0.3, log=True),
        "weight": Real(0.01, 1.0, log=True),
    }

    layers: int = Field(default=1, ge=1)
    eps: float = Field(default=0.05, ge=0)
    temperature: float = Field(default=0.2, gt=0)
    weight: float = Field(default=0.03, ge=0)
    loss: Literal["softmax", "sampled_softmax"] = "softmax"


class SimGCL(GraphCF[SimGCLConfig]):
    """Scores = ``p . z_i``, with ``z_i`` (D,) the smoothed item vectors and ``p`` the normalised sum of the history's.

    The vectors are those of `SmoothedItems`: nobody has a vector to learn, and a stranger is propagated exactly like a
    training person. An empty history gets the mean vector of the training people. In training, each vector ``x`` that
    arrives at a stop becomes ``x + eps * sign(x) * d``, ``d`` a random direction of length 1. The loss is the
    cross-entropy of events that each pass hides from the graph, plus `weight` times the contrast between two views, for
    the items and for the people of a batch: their layer 0, and their noisy mean of layers.

    Unlike in the paper, each pass hides a share of the events and predicts those; the first view is layer 0 and not
    layer 1, since one layer here is two of the paper's; and the recommendation loss compares with all items a person
    has not taken, where the paper has BPR.
    """

    Config = SimGCLConfig
    large_products = True

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        layers = self.network.travel(self._graph, lambda vectors: noisy(vectors, self.config.eps, generator))
        smoothed = mean(layers)
        most = self.config.negatives if self.config.loss == "sampled_softmax" else self.n_items
        questions = self._events.batch(rows, most, generator)
        people = self.network.people(questions.visible, smoothed, self._scales)
        chosen = people.index_select(0, questions.rows)
        positives = (chosen * smoothed.index_select(0, questions.targets)).sum(dim=1)
        scores = people @ smoothed.index_select(0, questions.candidates).T
        items = questions.visible.items.unique()
        first = self.network.people(questions.visible, layers[0], self._scales)
        active = questions.visible.lengths.nonzero()[:, 0]
        views = [(layers[0], smoothed, items), (first, people, active)]
        contrast = sum(
            contrast_loss(a.index_select(0, at), b.index_select(0, at), self.config.temperature) for a, b, at in views
        )
        return completion_loss(scores, positives, questions) + self.config.weight * contrast


def noisy(vectors: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """`vectors` (n, D), each moved by `eps` in a random direction that turns none of its signs."""
    noise = torch.rand(vectors.shape, generator=generator, device=vectors.device)
    return vectors + eps * vectors.detach().sign() * nn.functional.normalize(noise, dim=1)


def contrast_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """InfoNCE: each row of `first` (n, D) should be most like the same row of `second` (n, D), by the cosine.

    ``mean_i(logsumexp_j(cos(a_i, b_j) / temperature) - cos(a_i, b_i) / temperature)``; 0 where n is 0.
    """
    first, second = (nn.functional.normalize(vectors, dim=1) for vectors in (first, second))
    logits = (first @ second.T).float() / temperature
    return (logits.logsumexp(dim=1) - logits.diagonal()).sum() / max(1, len(first))
