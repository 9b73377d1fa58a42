"""What metrics are computed from: ranks of the right answers, slates, and predicted ratings.

Shapes: E examples, T targets of all examples, K positions of a slate, I items of the catalogue, C features,
P providers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recloop.data.ranks import UNRANKED

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Where the right answers of E examples came in the model's ranking of the candidates.

    Candidates are the items that might have been shown: the catalogue without what is masked. The targets of one
    example are distinct, so their ranks are too. An example has at least one target.

    Attributes:
        ranks: int64 (T,), candidates placed before each target, 0 for the first; `UNRANKED` where the target is no
            candidate, because it is not in the catalogue or is masked. Such a target is never found, and counts.
        offsets: int64 (E + 1,), the targets of example e are ``offsets[e]:offsets[e + 1]``.
        n_candidates: int64 (E,).
    """

    ranks: NDArray[np.int64]
    offsets: NDArray[np.int64]
    n_candidates: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_relevant(self) -> NDArray[np.int64]:
        """Targets an example, found or not, int64 (E,)."""
        return np.diff(self.offsets)

    def total(self, per_target: NDArray[np.generic]) -> Floats:
        """The sum of a (T,) quantity over the targets of each example, (E,)."""
        return np.bincount(self.owners, weights=per_target, minlength=len(self)).astype(np.float64)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The example of each target, int64 (T,)."""
        return np.repeat(np.arange(len(self)), self.n_relevant)

    def found(self, k: int) -> Floats:
        """Targets among the first `k` candidates of each example, (E,)."""
        return self.total(self.ranks < k)


@dataclass(frozen=True, kw_only=True)
class Slates:
    """What was recommended, and what is known of the catalogue.

    Attributes:
        items: int64 (E, K), best first; -1 where a slate is shorter.
        popularity: int64 (I,), training events an item.
        features: non-negative features of the items, sparse (I, C), such as one column a category, or the training
            users of each item; a row of zeros where nothing is known. `None` where there are none.
        providers: int64 (I,), the provider of each item from 0 to P - 1, every one of them occurring; -1 where it is
            not known. `None` where nobody asked.
    """

    items: NDArray[np.int64]
    popularity: NDArray[np.int64]
    features: sparse.csr_matrix | None = None
    providers: NDArray[np.int64] | None = None

    def top(self, k: int) -> NDArray[np.int64]:
        """The first `k` items of each slate, (E, k)."""
        assert k <= self.items.shape[1], f"the slates hold {self.items.shape[1]} items, fewer than {k}"
        return self.items[:, :k]

    def exposure(self, k: int) -> NDArray[np.int64]:
        """How many of the first `k` places each item took, (I,)."""
        shown = self.top(k)
        return np.bincount(shown[shown >= 0], minlength=len(self.popularity))

    def provider_shares(self, k: int) -> tuple[Floats, Floats]:
        """What share of the first `k` places, and of the catalogue, each provider has, (P,) twice.

        Places and items without a known provider are left out of both. Empty where no provider is known, and the
        shares of places are NaN where none was filled.
        """
        providers = np.full(len(self.popularity), -1) if self.providers is None else self.providers
        known = providers >= 0
        places = np.bincount(providers[known], weights=self.exposure(k)[known])
        owned = np.bincount(providers[known])
        total = float(places.sum()) or float("nan")
        return places / total, owned / max(int(owned.sum()), 1)

    def mean(self, per_item: Floats, k: int) -> Floats:
        """The mean of an (I,) quantity over the first `k` items of each slate, (E,); NaN for an empty slate."""
        shown = self.top(k)
        filled = shown >= 0
        total = np.where(filled, per_item[np.maximum(shown, 0)], 0.0).sum(axis=1)
        counts = filled.sum(axis=1)
        return np.divide(total, counts, out=np.full(len(shown), np.nan), where=counts > 0)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Ratings that a model predicted and people gave, for U users.

    Attributes:
        predicted: float (T,).
        actual: float (T,).
        users: int64 (T,), the row of the user who gave each rating; every row from 0 to U - 1 occurs.
    """

    predicted: NDArray[np.floating]
    actual: NDArray[np.floating]
    users: NDArray[np.int64]

    def mean(self, per_rating: NDArray[np.floating]) -> Floats:
        """The mean of a (T,) quantity over the ratings of each user, (U,)."""
        return np.bincount(self.users, weights=per_rating) / np.bincount(self.users)


__all__ = ["UNRANKED", "Floats", "Predictions", "Ranking", "Slates"]
