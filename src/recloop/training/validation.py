"""One number that says how well a model does on the validation part.

Shapes: E examples.
"""

import numpy as np
from numpy.typing import NDArray

from recloop.data.sequences import Examples
from recloop.metrics import Floats, Metric, Predictions, Ranking
from recloop.models.base import Model
from recloop.retrieval.exact import rank_examples
from recloop.training.config import EarlyStopping


def sample(examples: Examples, most: int | None) -> Examples:
    """At most `most` of the examples, evenly spaced; all where it is `None`."""
    if most is None or len(examples) <= most:
        return examples
    return examples.take(np.linspace(0, len(examples) - 1, most).round().astype(np.int64))


def validate(model: Model, examples: Examples, how: EarlyStopping) -> float:
    """What `EarlyStopping.metric_of` the model says, over a full ranking of the catalogue: the mean over users.

    Of a metric taken from ranks the mean over each user's examples is taken first, and it is 0 where it is defined for
    nobody. Ratings of items outside the catalogue are left out; the error is NaN where no rating is left.
    """
    metric = how.metric_of(type(model))
    answers = list(rank_examples(model, examples, 1, mask_seen=how.mask_seen))
    if metric.takes is Predictions:
        return _error(metric, np.concatenate([answer.target_scores for answer in answers]), examples)
    ranking = Ranking(
        ranks=np.concatenate([answer.ranks for answer in answers]),
        offsets=examples.offsets,
        n_candidates=np.concatenate([answer.n_candidates for answer in answers]),
    )
    values: Floats = metric(ranking)
    defined = ~np.isnan(values)
    _, users = np.unique(examples.users[defined], return_inverse=True)
    if not len(users):
        return 0.0
    return float((np.bincount(users, weights=values[defined]) / np.bincount(users)).mean())


def _error(metric: Metric, predicted: NDArray[np.float32], examples: Examples) -> float:
    known = ~np.isnan(predicted)
    owners = np.repeat(examples.users, np.diff(examples.offsets))[known]
    if not len(owners):
        return float("nan")
    users = np.unique(owners, return_inverse=True)[1]
    return float(metric(Predictions(predicted=predicted[known], actual=examples.values[known], users=users)).mean())
