"""GF-CF: a history is smoothed by two filters on the graph of items, without any training.

Shen, Wu, Zhang, Shan, Zhang, Letaief and Li, "How powerful is graph convolution for recommendation?", CIKM 2021.
Shapes: B contexts, I items, U users, K leading singular vectors.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from recloop import devices
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody
from recloop.nn.gram import gram_blocks
from recloop.nn.spectral import leading_eigenvectors
from recloop.search import Real, Space, Whole


class GFCFConfig(ModelConfig):
    """Parameters of `GFCF`.

    Attributes:
        factors: singular vectors that the low-pass filter lets through, K.
        alpha: weight of the low-pass filter beside the linear one; 0 leaves it out.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "factors": Whole(32, 512, log=True),
        "alpha": Real(0.0, 1.0),
    }

    factors: int = Field(default=256, ge=1)
    alpha: float = Field(default=0.3, ge=0)


class GFCF(Model[GFCFConfig]):
    """Scores = ``x @ W`` with ``W = R'R + alpha D^-1/2 V V' D^1/2`` (I, I).

    ``x`` (I,) holds 1 for the items of the history. ``R`` (U, I) holds ``1 / sqrt(n_u n_i)`` where u took i, with n the
    items of a user and the users of an item; ``D`` has the ``n_i`` on its diagonal and the columns of ``V`` (I, K) are
    the leading right singular vectors of ``R``. ``R'R`` is the linear filter, ``V V'`` the ideal low-pass filter.
    An empty history gets each item's number of users. As in the paper, but for what is computed in advance: ``W`` is
    kept whole, so a person costs a row of it an item of the history, and ``V`` comes from block power iteration.
    """

    Config = GFCFConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        self._refuse_if_too_large()
        matrix = data.histories.matrix(self.n_items)
        users = np.bincount(matrix.indices, minlength=self.n_items).astype(np.float32)
        lengths = np.diff(matrix.indptr)
        matrix.data /= np.sqrt(np.repeat(lengths, lengths) * users[matrix.indices])
        weights = torch.empty(self.n_items, self.n_items)
        for start, block in context.progress(gram_blocks(matrix), self.name()):
            weights[start : start + len(block)] = torch.from_numpy(block)
        weights, popularity = weights.to(self.device), torch.from_numpy(users).to(self.device)
        if self.config.alpha:
            generator = torch.Generator().manual_seed(context.seed)
            passed = leading_eigenvectors(weights, self.config.factors, generator)
            roots = popularity.clamp(min=1).sqrt()[:, None]
            weights.addmm_(passed / roots, (passed * roots).T, alpha=self.config.alpha)
        self.load_tensors({"weights": weights, "popularity": popularity})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        matrix = contexts.matrix(self.n_items)
        items = torch.from_numpy(matrix.indices.astype(np.int64)).to(self.device)
        offsets = torch.from_numpy(matrix.indptr[:-1].astype(np.int64)).to(self.device)
        scores = torch.nn.functional.embedding_bag(items, self._weights, offsets, mode="sum")
        return answer_nobody(scores, contexts, self._popularity)

    @override
    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor:
        history = context.matrix(self.n_items)
        rows = torch.from_numpy(history.indices.astype(np.int64)).to(self.device)
        return self._weights[rows[:, None], torch.as_tensor(items, device=self.device)]

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"weights": self._weights, "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._weights = self._tensor(tensors, "weights", (self.n_items, self.n_items))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))

    def _refuse_if_too_large(self) -> None:
        needed = 4 * self.n_items * (self.n_items + 6 * min(self.config.factors, self.n_items))
        free = min(devices.free_memory(torch.device("cpu")), devices.free_memory(self.device))
        if needed > free:
            raise ModelError(
                f"gfcf needs {needed / 1e9:,.1f} GB of memory for {self.n_items:,} items, but {free / 1e9:,.1f} GB are "
                "free; leave the model out or drop rare items."
            )
