"""Item-based nearest neighbours: an item is recommended for its likeness to the items of the history.

Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 2004.
Shapes: B contexts, I items, U users, K neighbours, b items of a block.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody
from recloop.nn.gram import gram_blocks


class ItemKNNConfig(ModelConfig):
    """Parameters of `ItemKNN`.

    Attributes:
        neighbors: most similar items kept for each item, K.
        shrink: added to the denominator of the cosine, so that likeness seen in few users counts less.
        weighting: ``none`` counts every user alike; ``tfidf`` counts a user with n items ``log(1 + I / n)``, since
            someone who takes everything says little about what belongs together.
    """

    neighbors: int = Field(default=20, ge=1)
    shrink: float = Field(default=10.0, ge=0)
    weighting: Literal["none", "tfidf"] = "tfidf"


class ItemKNN(Model[ItemKNNConfig]):
    """Score of item j = sum of ``s_ij`` over the items i of the history that have j among their K neighbours.

    ``s_ij = <x_i, x_j> / (|x_i| |x_j| + shrink)``, where ``x_i`` (U,) holds who interacted with item i, whatever the
    number of times. Similarities are computed a block of items at a time and only the K best of each are kept. Scoring
    multiplies sparse matrices, on the CPU whatever the device. An empty history gets each item's number of users.
    """

    Config = ItemKNNConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        matrix = data.histories.matrix(self.n_items)
        popularity = torch.from_numpy(np.bincount(matrix.indices, minlength=self.n_items).astype(np.float32))
        matrix = self._weighted(matrix)
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0), dtype=np.float64)).ravel()
        norms = norms.astype(np.float32)
        kept = min(self.config.neighbors, self.n_items - 1)
        columns, values, counts = [], [], []
        for start, products in context.progress(gram_blocks(matrix), self.name()):
            rows = np.arange(len(products))
            denominators = norms[start + rows, None] * norms[None, :] + self.config.shrink
            similar = torch.from_numpy(products / np.maximum(denominators, np.finfo(np.float32).tiny))
            similar[rows, start + rows] = 0
            best, items = similar.topk(kept, dim=1)
            positive = best > 0
            columns.append(items[positive])
            values.append(best[positive])
            counts.append(positive.sum(dim=1))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(counts).cumsum(0)])
        self.load_tensors(
            {
                "offsets": offsets,
                "neighbors": torch.cat(columns),
                "similarities": torch.cat(values),
                "popularity": popularity,
            }
        )

    @override
    def score(self, contexts: Contexts) -> Tensor:
        scores = sparse.csr_matrix(contexts.matrix(self.n_items) @ self._similarity).toarray()
        return answer_nobody(torch.from_numpy(scores).to(self.device), contexts, self._popularity)

    @override
    def tensors(self) -> dict[str, Tensor]:
        matrix = self._similarity
        return {
            "offsets": torch.from_numpy(matrix.indptr).long(),
            "neighbors": torch.from_numpy(matrix.indices).long(),
            "similarities": torch.from_numpy(matrix.data),
            "popularity": self._popularity,
        }

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        offsets = self._tensor(tensors, "offsets", (self.n_items + 1,))
        neighbors = self._tensor(tensors, "neighbors", (None,))
        similarities = self._tensor(tensors, "similarities", (len(neighbors),))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))
        parts = tuple(part.cpu().numpy() for part in (similarities, neighbors, offsets))
        self._similarity = sparse.csr_matrix(parts, shape=(self.n_items, self.n_items))

    def _weighted(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        if self.config.weighting == "tfidf":
            lengths = np.diff(matrix.indptr)
            weights = np.log1p(self.n_items / np.maximum(lengths, 1)).astype(np.float32)
            matrix.data *= np.repeat(weights, lengths)
        return matrix
