"""EASE: a linear autoencoder whose item-item weights have a closed form.

Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.
Shapes: B contexts, I items, U users.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

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
from recloop.search import Real, Space

_MATRICES = 3


class EASEConfig(ModelConfig):
    """Parameters of `EASE`.

    Attributes:
        regularization: the ridge added to the diagonal of the Gram matrix; grows with the number of users.
        precision: of the matrix inversion; the weights are kept in float32 either way.
    """

    regularization: float = Field(default=250.0, gt=0)
    precision: Literal["float32", "float64"] = "float64"

    search: ClassVar[Mapping[str, Space]] = {"regularization": Real(1, 5000, log=True)}


class EASE(Model[EASEConfig]):
    """Scores = ``x @ B``, where ``x`` (I,) holds 1 for the items of the history and ``B`` (I, I) has a zero diagonal.

    ``B`` minimises ``|X - X B|^2 + regularization |B|^2`` for the training matrix ``X`` (U, I) of ones and zeros:
    with ``P = inv(X'X + regularization * 1)``, ``B_ij = -P_ij / P_jj`` off the diagonal. The rows of ``B`` are added
    one history item after the other, so the scores of a person do not depend on who else is in the batch. An empty
    history gets each item's number of users.
    """

    Config = EASEConfig

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        dtype = torch.float64 if self.config.precision == "float64" else torch.float32
        self._refuse_if_too_large(dtype)
        gram = torch.empty(self.n_items, self.n_items, dtype=dtype)
        for start, block in context.progress(gram_blocks(data.histories.matrix(self.n_items)), self.name()):
            gram[start : start + len(block)] = torch.from_numpy(block)
        popularity = gram.diagonal().float()
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
        matrix = contexts.matrix(self.n_items)
        items = torch.from_numpy(matrix.indices.astype(np.int64)).to(self.device)
        offsets = torch.from_numpy(matrix.indptr[:-1].astype(np.int64)).to(self.device)
        scores = torch.nn.functional.embedding_bag(items, self._weights, offsets, mode="sum")
        return answer_nobody(scores, contexts, self._popularity)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"weights": self._weights, "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._weights = self._tensor(tensors, "weights", (self.n_items, self.n_items))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))

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
