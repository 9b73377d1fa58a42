"""User-based nearest neighbours: an item is recommended for being taken by people with a history like this one.

Herlocker, Konstan, Borchers and Riedl, "An algorithmic framework for performing collaborative filtering", SIGIR 1999;
as a ranking without rating predictions in Cremonesi, Koren and Turrin, "Performance of recommender algorithms on top-N
recommendation tasks", RecSys 2010.
Shapes: B contexts, I items, U training users, M pairs of a user and an item, K neighbours, b contexts of a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody
from recloop.nn.gram import product_blocks
from recloop.nn.neighbours import (
    Pairs,
    Similarity,
    Weighting,
    check_ratings,
    divide_by_lengths,
    means,
    nearest,
    norms,
    rarity,
    saturated,
)
from recloop.search import Choice, Real, Space, Whole


class UserKNNConfig(ModelConfig):
    """Parameters of `UserKNN`.

    Attributes:
        neighbors: training users that speak for a person, K.
        shrink: added to the denominator of the cosine, so that likeness seen in few items counts less.
        similarity: ``cosine`` of what was taken, whatever the values; or the cosine of ratings less the item's mean
            (``adjusted_cosine``) or less the person's mean (``pearson``).
        weighting: ``none`` counts every item alike; ``tfidf`` counts an item with n users ``log(1 + U / n)``, since
            what everybody takes says little about a person; ``bm25`` counts, besides, the repeats of an interaction,
            each less than the one before, and less for people with many events.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "neighbors": Whole(10, 1000, log=True),
        "shrink": Real(0.1, 100.0, log=True),
        "weighting": Choice(("none", "tfidf", "bm25")),
    }

    neighbors: int = Field(default=100, ge=1)
    shrink: float = Field(default=10.0, ge=0)
    similarity: Similarity = "cosine"
    weighting: Weighting = "tfidf"


class UserKNN(Model[UserKNNConfig]):
    """Score of item j = sum of ``s_v`` over the K training users v nearest to the history who took j.

    ``s_v = <x, y_v> / (|x| |y_v| + shrink)`` for the history's ``x`` (I,) and the training users' ``y_v`` (I,), which
    hold the item's weight times 1 or the centred rating (the mean one where there are several), and 0 for what was not
    taken. Only positive likeness counts. Means and weights of items are those of the training data, so people of the
    training data are no special case: their own row is one of their neighbours, and votes for what they have. An empty
    history, and one that is like nobody's, gets each item's number of users.

    What is learned are the sparse rows of the training users. Scoring multiplies sparse matrices, on the CPU whatever
    the device, some contexts at a time. Unlike in Herlocker et al., ratings decide who is near, not the scores: a sum
    ranks better than a predicted rating; and the lengths are those of all ratings instead of common ones, so likeness
    seen in few items counts less.
    """

    Config = UserKNNConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        events = data.histories
        check_ratings(self.name(), self.config.similarity, events.values)
        pairs = self._pairs(events)
        users = np.bincount(pairs.matrix.indices, minlength=self.n_items)
        self._popularity = torch.from_numpy(users.astype(np.float32)).to(self.device)
        self._means = means(pairs.ratings, pairs.matrix.indices, self.n_items)
        self._weights = rarity(users, len(events))
        self._typical = len(events.items) / max(1, len(events))
        self._keep(self._vectors(events))

    @override
    def score(self, contexts: Contexts) -> Tensor:
        alike = nearest(self._likeness(self._vectors(contexts)), self.config.neighbors, len(self._lengths))
        scores = torch.from_numpy(sparse.csr_matrix(alike @ self._taken).toarray()).to(self.device)
        scores[torch.from_numpy(np.diff(alike.indptr) == 0).to(self.device)] = self._popularity
        return answer_nobody(scores, contexts, self._popularity)

    @override
    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor | None:
        """Terms of ``<x, y_v>`` for the neighbours of the whole history, over the same lengths.

        `None` for a history that is like nobody's.
        """
        vectors = self._vectors(context)
        alike = nearest(self._likeness(vectors), self.config.neighbors, len(self._lengths))
        if not alike.nnz:
            return None
        people = alike.indices
        shared = self._by_item[vectors.indices][:, people].toarray() * vectors.data[:, None]
        lengths = norms(vectors, axis=1) * self._lengths[people] + self.config.shrink
        taken = self._taken[people][:, np.asarray(items, dtype=np.int64)].toarray()
        return torch.from_numpy(shared / lengths @ taken).to(self.device)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {
            "offsets": torch.from_numpy(self._taken.indptr).long(),
            "items": torch.from_numpy(self._taken.indices),
            "entries": torch.from_numpy(self._by_item.T.tocsr().data),
            "popularity": self._popularity,
            "means": torch.from_numpy(self._means),
            "weights": torch.from_numpy(self._weights),
            "typical": torch.tensor([self._typical], dtype=torch.float64),
        }

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        offsets = self._tensor(tensors, "offsets", (None,))
        items = self._tensor(tensors, "items", (None,))
        entries = self._tensor(tensors, "entries", (len(items),))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))
        self._means = self._tensor(tensors, "means", (self.n_items,)).cpu().numpy()
        self._weights = self._tensor(tensors, "weights", (self.n_items,)).cpu().numpy()
        self._typical = float(self._tensor(tensors, "typical", (1,)))
        parts = tuple(part.cpu().numpy() for part in (entries, items, offsets))
        self._keep(sparse.csr_matrix(parts, shape=(len(offsets) - 1, self.n_items)))

    def _keep(self, vectors: sparse.csr_matrix) -> None:
        """What scoring needs of ``y`` (U, I): its columns, who took what, and the lengths."""
        self._by_item = vectors.T.tocsr()
        self._taken = sparse.csr_matrix((np.ones_like(vectors.data), vectors.indices, vectors.indptr), vectors.shape)
        self._lengths = norms(vectors, axis=1)

    def _pairs(self, contexts: Contexts) -> Pairs:
        return Pairs.of(contexts.offsets, contexts.items, contexts.values, self.n_items)

    def _vectors(self, contexts: Contexts) -> sparse.csr_matrix:
        """``x`` of each context, float32 (B, I)."""
        pairs = self._pairs(contexts)
        matrix, rows = pairs.matrix, pairs.rows
        if self.config.similarity == "pearson":
            matrix.data = pairs.ratings - means(pairs.ratings, rows, len(contexts))[rows]
        elif self.config.similarity == "adjusted_cosine":
            matrix.data = pairs.ratings - self._means[matrix.indices]
        if self.config.weighting != "none":
            matrix.data *= self._weights[matrix.indices]
        if self.config.weighting == "bm25":
            matrix.data *= saturated(pairs.counts, contexts.lengths[rows], self._typical)
        return matrix

    def _likeness(self, vectors: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
        """``s``, float32 (b, U), of some of the `vectors` (B, I) at a time."""
        lengths = norms(vectors, axis=1)
        for start, alike in product_blocks(vectors, self._by_item):
            own = lengths[start : start + len(alike.indptr) - 1]
            divide_by_lengths(alike, own, self._lengths, self.config.shrink)
            yield alike
