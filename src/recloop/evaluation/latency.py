"""How long one request takes: a single context scored and ranked, as a service does it."""

import time
from collections.abc import Callable

import numpy as np

from recloop.data.sequences import Examples
from recloop.models.base import Model
from recloop.retrieval.exact import rank

WARM_UP = 5


def latency_ms(
    model: Model,
    examples: Examples,
    *,
    k: int = 10,
    requests: int = 200,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Mean and 95th percentile of the time to answer one question, in milliseconds.

    At most `requests` contexts, evenly spaced over `examples`, are answered one by one; a few answers before are not
    timed.

    Args:
        model: what answers.
        examples: at least one question.
        k: how many items are wanted.
        requests: how many answers to time.
        clock: seconds; monotonic.
    """
    rows = np.linspace(0, len(examples) - 1, min(requests, len(examples))).astype(int).tolist()
    seconds: list[float] = []
    for row in [*rows[:WARM_UP], *rows]:
        context = examples.contexts(row, row + 1)
        start = clock()
        rank(model, context, k)
        seconds.append(clock() - start)
    timed = 1000 * np.array(seconds[-len(rows) :])
    return {"mean": float(timed.mean()), "p95": float(np.quantile(timed, 0.95))}
