"""One number that says how well a model does on the validation part.

Shapes: E examples.
"""

import numpy as np

from recloop.data.sequences import Examples
from recloop.metrics import Ranking, parse
from recloop.models.base import Model
from recloop.retrieval.exact import rank_examples
from recloop.training.config import EarlyStopping


def sample(examples: Examples, most: int | None) -> Examples:
    """At most `most` of the examples, evenly spaced; all where it is `None`."""
    if most is None or len(examples) <= most:
        return examples
    return examples.take(np.linspace(0, len(examples) - 1, most).round().astype(np.int64))


def validate(model: Model, examples: Examples, how: EarlyStopping) -> float:
    """The metric over a full ranking of the catalogue: its mean over each user's examples, then over users."""
    answers = list(rank_examples(model, examples, 1, mask_seen=how.mask_seen))
    ranking = Ranking(
        ranks=np.concatenate([answer.ranks for answer in answers]),
        offsets=examples.offsets,
        n_candidates=np.concatenate([answer.n_candidates for answer in answers]),
    )
    values = parse(how.metric)(ranking)
    defined = ~np.isnan(values)
    _, users = np.unique(examples.users[defined], return_inverse=True)
    if not len(users):
        return 0.0
    return float((np.bincount(users, weights=values[defined]) / np.bincount(users)).mean())
