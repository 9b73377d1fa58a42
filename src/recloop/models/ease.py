"""EASE: a linear autoencoder whose item-item weights have a closed form.

Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019; fading as in Ding and Li, "Time weight
collaborative filtering", CIKM 2005.
Shapes: B contexts, I items, U users.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop import devices
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody
from recloop.nn.gram import gram_blocks
from recloop.nn.recency import faded_matrix
from recloop.search import Real, Space

_MATRICES = 3


class EASEConfig(ModelConfig):
    """Parameters of `EASE`.

    Attributes:
        regularization: the ridge added to the diagonal of the Gram matrix; grows with the number of users.
        precision: of the matrix inversion; the weights are kept in float32 either way.
        half_life_days: an event this many days older counts half; `None` counts all alike.
    """

    regularization: float = Field(default=250.0, gt=0)
    precision: Literal["float32", "float64"] = "float64"
    half_life_days: float | None = Field(default=None, gt=0)

    search: ClassVar[Mapping[str, Space]] = {"regularization": Real(1, 5000, log=True)}


class EASE(Model[EASEConfig]):
    """Scores = ``x @ B``, where ``x`` (I,) holds 1 for the items of the history and ``B`` (I, I) has a zero diagonal.

    ``B`` minimises ``|X - X B|^2 + regularization |B|^2`` for the training matrix ``X`` (U, I) of ones and zeros:
    with ``P = inv(X'X + regularization * 1)``, ``B_ij = -P_ij / P_jj`` off the diagonal. The rows of ``B`` are added
    one history item after the other, so the scores of a person do not depend on who else is in the batch. An empty
    history gets each item's number of users.

    With `half_life_days`, events fade: ``X`` holds ``0.5 ** (age / half_life_days)``, the age counted from the newest
    training event of anybody, and ``x`` the same with ages counted from the newest event of the history, so that only
    the order in which a person's own events fade matters. An empty history gets each item's sum of ``X``.
    """

    Config = EASEConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        dtype = torch.float64 if self.config.precision == "float64" else torch.float32
        self._refuse_if_too_large(dtype)
        gram = torch.empty(self.n_items, self.n_items, dtype=dtype)
        newest = int(data.histories.timestamps.max(initial=0))
        matrix = self._matrix(data.histories, newest)
        for start, block in context.progress(gram_blocks(matrix), self.name()):
            gram[start : start + len(block)] = torch.from_numpy(block)
        popularity = torch.from_numpy(np.asarray(matrix.sum(axis=0), dtype=np.float32).ravel())
        gram.diagonal().add_(self.config.regularization)
        factor, failed = torch.linalg.cholesky_ex(gram.to(self.device))
        if failed.any():
            raise ModelError(
                f"ease cannot invert its matrix in {self.config.precision} with regularization "
                f"{self.config.regularization:g}; raise regularization{self._or_precision('float64')}."
            )
        inverse = torch.cholesky_inverse(factor)
        weights = inverse.div_(-inverse.diagonal().clone())
        weights.fill_diagonal_(0)
        self.load_tensors({"weights": weights.float().contiguous(), "popularity": popularity})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        matrix = self._matrix(contexts)
        items = torch.from_numpy(matrix.indices.astype(np.int64)).to(self.device)
        offsets = torch.from_numpy(matrix.indptr[:-1].astype(np.int64)).to(self.device)
        shares = torch.from_numpy(matrix.data).to(self.device) if self.config.half_life_days else None
        scores = torch.nn.functional.embedding_bag(items, self._weights, offsets, mode="sum", per_sample_weights=shares)
        return answer_nobody(scores, contexts, self._popularity)

    @override
    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor:
        history = self._matrix(context)
        rows = torch.from_numpy(history.indices.astype(np.int64)).to(self.device)
        weights = self._weights[rows[:, None], torch.as_tensor(items, device=self.device)]
        return weights * torch.from_numpy(history.data).to(self.device)[:, None]

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"weights": self._weights, "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._weights = self._tensor(tensors, "weights", (self.n_items, self.n_items))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))

    def _matrix(self, contexts: Contexts, now: int | None = None) -> sparse.csr_matrix:
        """``X``, float32 (B, I)."""
        if self.config.half_life_days is None:
            return contexts.matrix(self.n_items)
        return faded_matrix(contexts, self.n_items, self.config.half_life_days, now)

    def _refuse_if_too_large(self, dtype: torch.dtype) -> None:
        needed = _MATRICES * self.n_items**2 * dtype.itemsize
        free = min(devices.free_memory(torch.device("cpu")), devices.free_memory(self.device))
        if needed > free:
            raise ModelError(
                f"ease needs {needed / 1e9:,.1f} GB of memory for {self.n_items:,} items, but {free / 1e9:,.1f} GB are "
                f"free; leave the model out or drop rare items{self._or_precision('float32')}."
            )

    def _or_precision(self, other: str) -> str:
        return "" if self.config.precision == other else f", or set its precision to {other}"
