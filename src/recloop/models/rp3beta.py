"""RP3beta: a random walk of three steps from a person over items and people, less drawn to popular items.

Paudel, Christoffel, Newell and Bernstein, "Updatable, accurate, diverse, and scalable recommendations for interactive
applications", ACM TiiS 2017.
Shapes: B contexts, I items, U users, K neighbours, b items of a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

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
from recloop.nn.neighbours import nearest, pack, terms, unpack
from recloop.search import Real, Space, Whole


class RP3BetaConfig(ModelConfig):
    """Parameters of `RP3Beta`.

    Attributes:
        alpha: exponent on the probability of each step: above 1, people who take little lead the way.
        beta: exponent on the number of users that a target is divided by; 0 is P3alpha.
        neighbors: items kept a row, K.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "alpha": Real(0.2, 2.0),
        "beta": Real(0.0, 1.2),
        "neighbors": Whole(10, 1000, log=True),
    }

    alpha: float = Field(default=1.0, ge=0)
    beta: float = Field(default=0.5, ge=0)
    neighbors: int = Field(default=200, ge=1)


class RP3Beta(Model[RP3BetaConfig]):
    """Score of item j = sum of ``w_ij`` over the items i of the history.

    ``w_ij = sum_u (1 / n_i)^alpha (1 / n_u)^alpha / n_j^beta`` over the people u who took both, where n counts the
    users of an item and the items of a user. Of each row the K largest are kept, without i itself, and divided by their
    sum; so the factor of ``n_i`` cancels. The walk's first step is alike for all items of a history and is left out.
    An empty history gets each item's number of users. The paper walks at random or multiplies matrices for each person;
    here items are connected in advance, so anybody's history can be asked for.
    """

    Config = RP3BetaConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        matrix = data.histories.matrix(self.n_items)
        users = np.bincount(matrix.indices, minlength=self.n_items).astype(np.float32)
        lengths = np.diff(matrix.indptr)
        matrix.data *= np.repeat(np.maximum(lengths, 1) ** (-self.config.alpha / 2), lengths).astype(np.float32)
        blocks = context.progress(self._blocks(matrix, users), self.name())
        weights = nearest(blocks, self.config.neighbors, self.n_items)
        sums = np.asarray(weights.sum(axis=1)).ravel()
        weights.data /= np.repeat(sums, np.diff(weights.indptr))
        self.load_tensors({**pack(weights), "popularity": torch.from_numpy(users)})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        scores = sparse.csr_matrix(contexts.matrix(self.n_items) @ self._weights).toarray()
        return answer_nobody(torch.from_numpy(scores).to(self.device), contexts, self._popularity)

    @override
    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor:
        return terms(context.matrix(self.n_items), self._weights, items).to(self.device)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {**pack(self._weights), "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        offsets = self._tensor(tensors, "offsets", (self.n_items + 1,))
        neighbors = self._tensor(tensors, "neighbors", (None,))
        weights = self._tensor(tensors, "weights", (len(neighbors),))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))
        self._weights = unpack(offsets, neighbors, weights, self.n_items)

    def _blocks(self, matrix: sparse.csr_matrix, users: NDArray[np.float32]) -> Iterator[sparse.csr_matrix]:
        """Unnormalised ``w``, float32 (b, I), with a diagonal of 0."""
        wanted = np.maximum(users, 1) ** np.float32(-self.config.beta)
        for start, weights in product_blocks(matrix.T.tocsr(), matrix):
            weights.data *= wanted[weights.indices]
            clear_diagonal(weights, start)
            yield weights
