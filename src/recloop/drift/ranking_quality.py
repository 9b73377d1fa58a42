"""Does the model still foretell what people choose next? Its metric lately, against right after its training."""

from recloop.drift.comparison import Comparison
from recloop.drift.inputs import Inputs
from recloop.drift.losses import metric_lost


def measure(inputs: Inputs) -> Comparison | None:
    """The share of `metric`, a mean over people, that was lost; needs a model, and events that it has not learned from.

    A model that was broken from the start has nothing to lose: that is for `popularity_baseline`. A model that was
    chosen for its metric right after its training was a little lucky there, so a small loss is usual.
    """
    foretold = inputs.foretold
    if foretold is None:
        return None
    return metric_lost(foretold.before, foretold.lately, inputs.config)
