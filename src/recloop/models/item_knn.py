"""Item-based nearest neighbours: an item is recommended for its likeness to the items of the history.

Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 2004; likeness of ratings as in Sarwar,
Karypis, Konstan and Riedl, "Item-based collaborative filtering recommendation algorithms", WWW 2001.
Shapes: B contexts, I items, U users, M pairs of a user and an item, K neighbours, b items of a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody
from recloop.nn.gram import clear_diagonal, product_blocks
from recloop.nn.neighbours import (
    Pairs,
    Similarity,
    Weighting,
    check_ratings,
    divide_by_lengths,
    means,
    nearest,
    norms,
    pack,
    rarity,
    saturated,
    terms,
    unpack,
)
from recloop.search import Choice, Real, Space, Whole


class ItemKNNConfig(ModelConfig):
    """Parameters of `ItemKNN`.

    Attributes:
        neighbors: most similar items kept for each item, K.
        whose: whose neighbours count: ``history``, those of each item taken, so that popular items are in many lists
            (Deshpande and Karypis); or ``candidate``, those of each item to be scored, so that every item has K of its
            own (as in Cremonesi et al., "Performance of recommender algorithms on top-n recommendation tasks", RecSys
            2010), which wants more of them.
        shrink: added to the denominator of the cosine, so that likeness seen in few users counts less.
        similarity: ``cosine`` of who interacted, whatever the values; or the cosine of ratings less the user's mean
            (``adjusted_cosine``) or less the item's mean (``pearson``).
        weighting: ``none`` counts every user alike; ``tfidf`` counts a user with n items ``log(1 + I / n)``, since
            someone who takes everything says little about what belongs together; ``bm25`` counts, besides, the repeats
            of an interaction, each less than the one before, and less for items with many events.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "neighbors": Whole(5, 500, log=True),
        "shrink": Real(0.1, 100.0, log=True),
        "whose": Choice(("history", "candidate")),
        "weighting": Choice(("none", "tfidf", "bm25")),
    }

    neighbors: int = Field(default=20, ge=1)
    whose: Literal["history", "candidate"] = "history"
    shrink: float = Field(default=10.0, ge=0)
    similarity: Similarity = "cosine"
    weighting: Weighting = "tfidf"


class ItemKNN(Model[ItemKNNConfig]):
    """Score of item j = sum of ``s_ij`` over the items i of the history that have j among their K neighbours.

    With `whose` ``candidate``, over those that are among the K neighbours of j.

    ``s_ij = <x_i, x_j> / (|x_i| |x_j| + shrink)``, where ``x_i`` (U,) holds, for those who interacted with item i, the
    user's weight times 1 or the centred rating (the mean one where there are several), and 0 for all others. Only
    positive likeness counts. Similarities are computed a block of items at a time and only the K best of each are kept.
    Scoring multiplies sparse matrices, on the CPU whatever the device. An empty history gets each item's number of
    users.

    Ratings decide which items are alike, not the scores: a sum ranks better than a predicted rating. Sarwar et al. sum
    the lengths ``|x_i|`` over common users only; over all users, as here, likeness that few people show counts less.
    """

    Config = ItemKNNConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        events = data.histories
        check_ratings(self.name(), self.config.similarity, events.values)
        pairs = Pairs.of(events.offsets, events.items, events.values, self.n_items)
        matrix = pairs.matrix
        popularity = torch.from_numpy(np.bincount(matrix.indices, minlength=self.n_items).astype(np.float32))
        matrix.data = self._entries(pairs)
        blocks = context.progress(self._blocks(matrix), self.name())
        similarity = nearest(blocks, min(self.config.neighbors, self.n_items - 1), self.n_items)
        if self.config.whose == "candidate":
            similarity = similarity.T.tocsr()
        self.load_tensors({**pack(similarity, "similarities"), "popularity": popularity})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        scores = sparse.csr_matrix(contexts.matrix(self.n_items) @ self._similarity).toarray()
        return answer_nobody(torch.from_numpy(scores).to(self.device), contexts, self._popularity)

    @override
    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor:
        return terms(context.matrix(self.n_items), self._similarity, items).to(self.device)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {**pack(self._similarity, "similarities"), "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        offsets = self._tensor(tensors, "offsets", (self.n_items + 1,))
        neighbors = self._tensor(tensors, "neighbors", (None,))
        similarities = self._tensor(tensors, "similarities", (len(neighbors),))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))
        self._similarity = unpack(offsets, neighbors, similarities, self.n_items)

    def _entries(self, pairs: Pairs) -> NDArray[np.float32]:
        """``x``: what stands for each pair of a user and an item, float32 (M,)."""
        rows, items = pairs.rows, pairs.matrix.indices
        entries = np.ones_like(pairs.ratings)
        if self.config.similarity == "adjusted_cosine":
            entries = pairs.ratings - means(pairs.ratings, rows, len(pairs.lengths))[rows]
        elif self.config.similarity == "pearson":
            entries = pairs.ratings - means(pairs.ratings, items, self.n_items)[items]
        if self.config.weighting != "none":
            entries = entries * rarity(pairs.lengths, self.n_items)[rows]
        if self.config.weighting == "bm25":
            sizes = np.bincount(items, weights=pairs.counts, minlength=self.n_items)
            entries = entries * saturated(pairs.counts, sizes[items], float(sizes.mean()))
        return entries

    def _blocks(self, matrix: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
        """``s``, float32 (b, I), with a diagonal of 0."""
        lengths = norms(matrix, axis=0)
        for start, similar in product_blocks(matrix.T.tocsr(), matrix):
            divide_by_lengths(similar, lengths[start : start + len(similar.indptr) - 1], lengths, self.config.shrink)
            clear_diagonal(similar, start)
            yield similar
