"""BPR: what a person took should score higher than what the person did not take.

Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit feedback", UAI
2009; the person is made of the history as in Kabbur, Ning and Karypis, "FISM", KDD 2013.
Shapes: B people, I items, D dimensions, N events of a batch of people, K items drawn for each.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.pairwise import PairwiseConfig, PairwiseModel
from recloop.search import Choice, Real, Space, Whole


class BPRConfig(PairwiseConfig):
    """Parameters of `BPR`: those of `PairwiseConfig`."""

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "weight_decay": Real(1e-4, 1.0, log=True),
        "dim": Choice((32, 64, 128)),
        "alpha": Real(0.0, 1.0),
        "negatives": Whole(1, 16, log=True),
    }

    negatives: int = Field(default=1, ge=1)
    epochs: int = Field(default=30, ge=1)


class BPR(PairwiseModel[BPRConfig]):
    """Scores ``s_ui = p_u . e_i + b_i`` with ``p_u = n^-alpha sum of q_j`` over the n items j of the history.

    Minimises the mean of ``-log sigmoid(s_ui - s_uj)`` over all events (u, i) and K items j drawn uniformly from those
    that u did not take. Here ``p_u`` leaves out item i, and all events of a person are examples of one step. In the
    paper each person has a vector of its own, which would leave strangers without an answer, and steps are of one
    pair; weight decay takes the place of its ridge. An empty history gets ``b_i``.
    """

    Config = BPRConfig

    @override
    def compare(self, people: Tensor, taken: Tensor, others: Tensor) -> Tensor:
        """Mean of ``-log sigmoid(s_ui - s_uj)`` with `taken` (N, 1) the ``s_ui`` and `others` (N, K) the items j."""
        return nn.functional.softplus(self.network(people, others) - taken).mean()
