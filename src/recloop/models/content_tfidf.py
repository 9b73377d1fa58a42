"""Content-based recommendation: items whose words are those of what the person took.

Lops, de Gemmis and Semeraro, "Content-based recommender systems: state of the art and trends", Recommender Systems
Handbook, 2011; BM25: Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", Foundations and
Trends in Information Retrieval, 2009.
Shapes: B contexts, I items, W words.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.features import texts
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, answer_nobody, check_needs
from recloop.nn.recency import recent_matrix
from recloop.nn.words import word_counts
from recloop.search import Choice, Real, Space


class ContentTFIDFConfig(ModelConfig):
    """Parameters of `ContentTFIDF`.

    Attributes:
        weighting: ``tfidf`` scores by the cosine of profile and item, ``bm25`` by BM25 with the profile as the query.
        k1: how fast repeats of a word in one text stop counting, for ``bm25``.
        b: how much long texts are marked down, from 0 to 1, for ``bm25``.
        half_life: an event with this many newer ones counts half in the profile; `None` counts all alike.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "weighting": Choice(("tfidf", "bm25")),
        "half_life": Real(1.0, 100.0, log=True),
    }

    weighting: Literal["tfidf", "bm25"] = "tfidf"
    k1: float = Field(default=1.2, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)
    half_life: float | None = Field(default=10.0, gt=0)


class ContentTFIDF(Model[ContentTFIDFConfig]):
    """Scores from the words of the items' texts; items without any interaction are scored like all others.

    With ``n_iw`` how often word w occurs in the text of item i, ``d_w`` how many texts contain it, ``l_i`` the words of
    a text and ``l`` their mean, ``a_j`` the weight of item j in the history (by age, see `half_life`):

    - ``tfidf``: ``t_iw = (1 + log n_iw) log((1 + I) / (1 + d_w))``, the rows scaled to length 1; the profile is
      ``q = sum_j a_j t_j``, and the score ``cos(q, t_i)``.
    - ``bm25``: ``t_iw = log(1 + (I - d_w + .5) / (d_w + .5)) n_iw (k1 + 1) / (n_iw + k1 (1 - b + b l_i / l))``; the
      profile is ``q_w = sum_j a_j [n_jw > 0] / sum_j a_j``, the mean of the words taken, and the score ``q . t_i``.

    An empty history gets each item's number of users. Training keeps the weights, not the words. Scoring multiplies
    sparse matrices, on the CPU whatever the device.
    """

    Config = ContentTFIDFConfig
    needs = frozenset({"item_text"})
    cold_items = True

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        check_needs(type(self), data)
        assert data.items is not None
        popularity = np.bincount(data.histories.matrix(self.n_items).indices, minlength=self.n_items)
        counts = word_counts(texts(data.items))
        weights = self._tfidf(counts) if self.config.weighting == "tfidf" else self._bm25(counts)
        self.load_tensors(
            {
                "offsets": torch.from_numpy(weights.indptr.astype(np.int64)),
                "words": torch.from_numpy(weights.indices.astype(np.int64)),
                "weights": torch.from_numpy(weights.data),
                "popularity": torch.from_numpy(popularity.astype(np.float32)),
            }
        )

    @override
    def score(self, contexts: Contexts) -> Tensor:
        taken = recent_matrix(contexts, self.n_items, self.config.half_life)
        profiles = sparse.csr_matrix(taken @ self._asked)
        if self.config.weighting == "tfidf":
            lengths = np.sqrt(np.asarray(profiles.multiply(profiles).sum(axis=1), dtype=np.float64)).ravel()
        else:
            lengths = np.asarray(taken.sum(axis=1), dtype=np.float64).ravel()
        scales = (1 / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
        profiles.data *= np.repeat(scales, np.diff(profiles.indptr))
        scores = torch.from_numpy(sparse.csr_matrix(profiles @ self._by_word).toarray())
        return answer_nobody(scores.to(self.device), contexts, self._popularity)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {
            "offsets": torch.from_numpy(self._weights.indptr).long(),
            "words": torch.from_numpy(self._weights.indices).long(),
            "weights": torch.from_numpy(self._weights.data),
            "popularity": self._popularity,
        }

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        offsets = self._tensor(tensors, "offsets", (self.n_items + 1,))
        words = self._tensor(tensors, "words", (None,))
        weights = self._tensor(tensors, "weights", (len(words),))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))
        parts = tuple(part.cpu().numpy() for part in (weights, words, offsets))
        n_words = int(words.max().item()) + 1 if len(words) else 1
        self._weights = sparse.csr_matrix(parts, shape=(self.n_items, n_words))
        self._by_word = self._weights.T.tocsr()
        self._asked = self._weights
        if self.config.weighting == "bm25":
            self._asked = self._weights.copy()
            self._asked.data = np.ones_like(self._asked.data)

    def _tfidf(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        rarity = np.log((1 + self.n_items) / (1 + _texts_with(counts)))
        weights = counts.copy()
        weights.data = ((1 + np.log(counts.data)) * rarity[counts.indices]).astype(np.float32)
        lengths = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1), dtype=np.float64)).ravel()
        scales = 1 / np.maximum(lengths, np.finfo(np.float32).tiny)
        weights.data *= np.repeat(scales, np.diff(weights.indptr)).astype(np.float32)
        return weights

    def _bm25(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        texts_with = _texts_with(counts)
        rarity = np.log1p((self.n_items - texts_with + 0.5) / (texts_with + 0.5))
        lengths = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
        mean = max(float(lengths.mean()), 1.0)
        slowness = self.config.k1 * (1 - self.config.b + self.config.b * lengths / mean)
        weights = counts.copy()
        saturated = counts.data * (self.config.k1 + 1) / (counts.data + np.repeat(slowness, np.diff(counts.indptr)))
        weights.data = (saturated * rarity[counts.indices]).astype(np.float32)
        return weights


def _texts_with(counts: sparse.csr_matrix) -> np.ndarray:
    """How many texts contain each word, (W,)."""
    return np.bincount(counts.indices)
