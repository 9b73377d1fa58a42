from itertools import accumulate, chain, repeat

import polars as pl
import pytest

from recloop.evaluation.latency import latency_ms
from recloop.evaluation.questions import ask
from tests.evaluation.conftest import Fixed


def test_mean_and_percentile_of_timed_answers(parts: tuple[pl.DataFrame, ...]) -> None:
    questions = ask(*parts, targets="successive")
    model = Fixed([0.1] * 6)
    # Three answers are timed after three to warm up: 2, 2 and 8 ms; the clock is read before and after each.
    ticks = accumulate(chain([0.0, 0.5, 0.0, 0.5, 0.0, 0.5], [0.0, 0.002, 0.0, 0.002, 0.0, 0.008]))
    measured = latency_ms(model, questions.examples(questions.items), requests=3, clock=lambda: next(ticks))
    assert measured == {"mean": pytest.approx(4.0), "p95": pytest.approx(7.4)}
    assert model.largest == 1


def test_fewer_questions_than_requests(parts: tuple[pl.DataFrame, ...]) -> None:
    questions = ask(*parts, targets="successive")
    ticks = accumulate(repeat(0.001))
    measured = latency_ms(Fixed([0.1] * 6), questions.examples(questions.items), clock=lambda: next(ticks))
    assert measured == {"mean": pytest.approx(1.0), "p95": pytest.approx(1.0)}
