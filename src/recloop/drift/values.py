"""Do people rate alike? The distribution of ratings or weights."""

from recloop.columns import VALUE
from recloop.drift.bins import binned
from recloop.drift.comparison import Comparison, compare
from recloop.drift.inputs import Inputs


def measure(inputs: Inputs) -> Comparison | None:
    """Share of events by value; nothing where all values are the same."""
    observations, labels = binned(inputs.windows.events.drop_nulls(VALUE), VALUE)
    return compare(observations, labels, column=VALUE, tolerance=inputs.config.tolerance)
