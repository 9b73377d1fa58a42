"""Is the model of any use? Its metric lately, against that of popularity for the same questions.

All other checks of the model compare it with itself, so a model that was broken from the start looks the same to them.
"""

from recloop.drift.comparison import Comparison
from recloop.drift.inputs import Inputs
from recloop.drift.losses import metric_lost


def measure(inputs: Inputs) -> Comparison | None:
    """The share by which the champion is below popularity in its own training window; only below is drift.

    The same people answer for both, so a small difference is sure soon.
    """
    foretold = inputs.foretold
    if foretold is None:
        return None
    return metric_lost(foretold.baseline, foretold.lately, inputs.config)
