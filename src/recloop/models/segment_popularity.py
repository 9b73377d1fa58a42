"""What people like the asking one take: popularity within segments of people's attributes.

Segments by spherical k-means: Dhillon and Modha, "Concept decompositions for large sparse text data using clustering",
Machine Learning, 2001; demographic recommendation: Pazzani, "A framework for collaborative, content-based and
demographic filtering", Artificial Intelligence Review, 1999.
Shapes: B contexts, I items, U people, F buckets of features, S segments.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from recloop.data.features import BUCKETS
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, check_needs
from recloop.search import Real, Space, Whole

_ROUNDING = 1e-6


class SegmentPopularityConfig(ModelConfig):
    """Parameters of `SegmentPopularity`.

    Attributes:
        segments: groups that people are divided into, S; no more than there are different people.
        neighbors: nearest segments that a person is answered from.
        shrink: events of everybody's popularity that are added to each segment.
        iterations: most passes of the clustering.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "segments": Whole(4, 256, log=True),
        "shrink": Real(10.0, 10000.0, log=True),
    }

    segments: int = Field(default=32, ge=1)
    neighbors: int = Field(default=3, ge=1)
    shrink: float = Field(default=1000.0, gt=0)
    iterations: int = Field(default=25, ge=1)


class SegmentPopularity(Model[SegmentPopularityConfig]):
    """Score = ``sum_s a_s (n_si + shrink p_i) / (n_s + shrink)`` over the segments nearest to the person's attributes.

    ``n_si`` is how many events with item i the people of segment s have, ``n_s`` how many events in all, and ``p_i``
    the share of item i among everybody's events. ``a_s`` are the cosines between the person's hashed attributes and the
    centres of the `neighbors` nearest segments, negative ones 0, divided by their sum. Whoever has no attributes gets
    ``p``. The history plays no role: this is for people of whom nothing but attributes is known.
    """

    Config = SegmentPopularityConfig
    needs = frozenset({"user_features"})

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        check_needs(type(self), data)
        people = _unit_rows(_attributes(data.histories))
        known = np.flatnonzero(np.diff(people.indptr))
        centres, segment = self._clustered(people[known], np.random.default_rng(context.seed))
        events = data.histories
        shape = (len(events), self.n_items)
        ones = np.ones(len(events.items), dtype=np.float32)
        taken = sparse.csr_matrix((ones, events.items, events.offsets), shape=shape)[known]
        counts = sparse.csr_matrix(_members(segment, len(centres)) @ taken).toarray()
        overall = np.bincount(events.items, minlength=self.n_items)
        self.load_tensors(
            {
                "centres": torch.from_numpy(centres),
                "counts": torch.from_numpy(counts),
                "popularity": torch.from_numpy(overall / max(1, overall.sum())).float(),
            }
        )

    @override
    def user_vectors(self, contexts: Contexts) -> Tensor:
        people = _unit_rows(_attributes(contexts))
        nearness = torch.from_numpy(np.asarray(people @ self._centres.cpu().numpy().T, dtype=np.float32))
        best, where = nearness.to(self.device).clamp(min=0).topk(min(self.config.neighbors, len(self._centres)), dim=1)
        weights = torch.zeros(len(contexts), len(self._centres), device=self.device).scatter_(1, where, best)
        weights = weights / best.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        weights = weights / (self._counts.sum(dim=1) + self.config.shrink)
        rest = 1 - weights @ self._counts.sum(dim=1)
        return torch.cat([weights, rest[:, None]], dim=1)

    @override
    def item_vectors(self) -> Tensor:
        return torch.cat([self._counts.T, self._popularity[:, None]], dim=1)

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"centres": self._centres, "counts": self._counts, "popularity": self._popularity}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._centres = self._tensor(tensors, "centres", (None, BUCKETS))
        self._counts = self._tensor(tensors, "counts", (len(self._centres), self.n_items))
        self._popularity = self._tensor(tensors, "popularity", (self.n_items,))

    def _clustered(
        self, people: sparse.csr_matrix, random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Centres of length 1, float32 (S, F), and the segment of each of `people`, int64 (U,).

        The first centres are people of whom each is drawn with a probability that grows with the distance to those
        drawn before, until nobody differs from all of them.
        """
        n_people = len(people.indptr) - 1
        chosen = [int(random.integers(n_people))]
        distance = np.full(n_people, np.inf)
        while len(chosen) < min(self.config.segments, n_people):
            nearness = sparse.csr_matrix(people @ people[chosen[-1]].T).toarray().ravel()
            distance = np.minimum(distance, np.where(nearness > 1 - _ROUNDING, 0, 1 - nearness))
            if not distance.any():
                break
            chosen.append(int(random.choice(n_people, p=distance / distance.sum())))
        centres = people[chosen].toarray().astype(np.float32)
        segment = np.full(n_people, -1)
        for _ in range(self.config.iterations):
            nearest = np.asarray(people @ centres.T).argmax(axis=1)
            if (nearest == segment).all():
                break
            segment = nearest
            sums = sparse.csr_matrix(_members(segment, len(centres)) @ people).toarray()
            lengths = np.linalg.norm(sums, axis=1, keepdims=True)
            centres = np.where(lengths > 0, sums / np.maximum(lengths, np.finfo(np.float32).tiny), centres)
        return centres.astype(np.float32), segment


def _members(segment: NDArray[np.int64], n_segments: int) -> sparse.csr_matrix:
    """Who belongs to which segment, ones, float32 (S, U)."""
    ones = np.ones(len(segment), dtype=np.float32)
    return sparse.csr_matrix((ones, (segment, np.arange(len(segment)))), shape=(n_segments, len(segment)))


def _attributes(contexts: Contexts) -> sparse.csr_matrix:
    """The people's hashed attributes, float32 (B, F)."""
    if contexts.features is None:
        return sparse.csr_matrix((len(contexts), BUCKETS), dtype=np.float32)
    return contexts.features.matrix()


def _unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The rows scaled to length 1; empty ones stay so."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float64)).ravel()
    scales = (1 / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    matrix.data *= np.repeat(scales, np.diff(matrix.indptr))
    return matrix
