import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from recloop.loop.guardrails import GuardrailConfig, Limit, evidence, guard, harm, units
from recloop.store.slates import SCHEMA

SECOND = 1_000_000
SINCE = 1_700_000_000 * SECOND
CONFIG = GuardrailConfig(visit_seconds=60, round_hours=1, settle_seconds=10, longest_seconds=0.5)
HOUR = 3_600


def slates(*rows: tuple[float, str | None, str, dict[str, Any]]) -> pl.DataFrame:
    """Slates at these seconds since the share changed: user, arm, and what differs from a good answer of 125 ms."""
    plain = {"took": 125_000, "fallback": None, "failed": None, "places": 3}
    made = [
        {"seq": n, "request_id": f"r{n}", "user_id": user, "timestamp": SINCE + round(second * SECOND), "arm": arm}
        | plain
        | more
        for n, (second, user, arm, more) in enumerate(rows)
    ]
    return pl.DataFrame(made, schema=SCHEMA)


def test_the_evidence_by_hand():
    values, canary = np.array([1.0, 0.5, 0.0, 1.0]), np.array([True, False, True, False])
    share, ratio, increase = 0.25, 2.0, 0.1
    gains = [1 / 0.25 - 0.1, -2 * 0.5 / 0.75 - 0.1, -0.1, -2 / 0.75 - 0.1]
    products, expected = [1.0] * 12, list[float]()
    for gain in gains:
        largest = 1 / (2 / 0.75 + 0.1)
        parts = [0.002 * (0.98 / 0.002) ** (n / 11) for n in range(12)]
        products = [product * (1 + largest * part * gain) for product, part in zip(products, parts, strict=True)]
        expected.append(math.log(sum(products) / 12))
    (found,) = evidence(values, canary, share=share, limit=Limit(ratio=ratio, increase=increase))
    assert found.tolist() == pytest.approx(expected)
    assert list(evidence(values[:0], canary[:0], share=share, limit=Limit(ratio=1, increase=0))) == []


def test_the_evidence_of_many_units_is_that_of_their_parts(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(1)
    values, canary = random.random(500), random.random(500) < 0.3
    limit = Limit(ratio=1, increase=0.0)
    (whole,) = evidence(values, canary, share=0.3, limit=limit)
    monkeypatch.setattr("recloop.loop.guardrails._UNITS", 7)
    parts = list(evidence(values, canary, share=0.3, limit=limit))
    assert len(parts) > 70
    assert np.concatenate(parts) == pytest.approx(whole)


def test_a_user_counts_once_a_round_with_the_requests_of_one_visit():
    failed, slow = {"failed": "b"}, {"took": 900_000}
    rows = slates(
        (5, "early", "champion", failed),
        (20, "u", "canary", failed),
        (30, "u", "canary", slow),
        (40, "u", "champion", failed),
        (81, "u", "canary", failed),
        (90, None, "canary", {"places": 0}),
        (91, None, "champion", {"fallback": "nobody"}),
        (HOUR + 5, "u", "canary", {"took": None}),
        (HOUR + 50, "v", "champion", {}),
    )
    found = units(rows, CONFIG, since=SINCE, now=SINCE + (HOUR + 70) * SECOND)
    assert found.rows() == [
        (0, True, 0.5, 0, 0, 0.625),
        (0, True, 0, 0, 1, 0.25),
        (0, False, 0, 1, 0, 0.25),
        (1, True, 0, 0, 0, None),
    ]


def test_requests_of_nobody_are_each_drawn_and_counted_at_once():
    rows = slates(*((20, None, arm, {}) for arm in ("canary", "champion", "canary")))
    assert units(rows, CONFIG, since=SINCE, now=SINCE + 21 * SECOND)["canary"].to_list() == [True, False, True]


def of(values: dict[str, list[float]], canary: list[bool], rounds: list[int] | None = None) -> pl.DataFrame:
    quiet = {name: [0.0] * len(canary) for name in ("failed", "fallback", "empty", "latency")}
    return pl.DataFrame({"round": rounds or [0] * len(canary), "canary": canary} | quiet | values)


def test_a_canary_that_always_fails_is_found_within_a_few_users():
    canary = [n % 10 == 0 for n in range(60)]
    found = guard(of({"failed": [float(one) for one in canary]}, canary), CONFIG, share=0.1, alpha=0.025, rounds=14)
    assert [name for name, one in found.items() if one.harm] == ["failed"]
    assert found["failed"].units == (6, 54)
    reason = harm(found)
    assert reason
    assert reason.startswith(
        "Failed: 100.0% of the canary's requests, 0.0% of the champion's; 1.0% more is allowed. That is no chance: p = "
    )
    assert found["failed"].p < 0.025 / 4


def test_what_is_allowed_is_no_harm():
    canary = [n % 2 == 0 for n in range(4_000)]
    latency = [0.02 * (1.5 if one else 1) for one in canary]
    found = guard(of({"latency": latency}, canary), CONFIG, share=0.5, alpha=0.025, rounds=14)
    assert harm(found) is None
    slow = guard(
        of({"latency": [0.02 * (6 if one else 1) for one in canary]}, canary),
        CONFIG,
        share=0.5,
        alpha=0.025,
        rounds=14,
    )
    assert (harm(slow) or "").startswith(
        "The canary took 60.0 ms for an answer, the champion 10.0 ms; allowed are 1.5 times as many and 10 more."
    )


def test_harm_that_begins_late_is_found():
    canary = [n % 2 == 0 for n in range(200)]
    failed = [0.0] * 100 + [float(one) for one in canary[100:]]
    rounds = [0] * 100 + [3] * 100
    assert harm(guard(of({"failed": failed}, canary, rounds), CONFIG, share=0.5, alpha=0.025, rounds=14))
    assert not harm(guard(of({"failed": failed}, canary, rounds), CONFIG, share=0.5, alpha=0.025, rounds=3))


def test_what_is_not_known_is_not_judged():
    found = guard(units(slates(), CONFIG, since=SINCE, now=SINCE), CONFIG, share=0.1, alpha=0.025, rounds=14)
    assert harm(found) is None
    assert {one.p for one in found.values()} == {1.0}


def test_equal_arms_are_taken_for_harm_at_most_at_the_stated_rate():
    """The hard case: few people, who come every day and differ much, and nothing is allowed beyond equality."""
    random, runs, people, days, share, alpha = np.random.default_rng(3), 500, 120, 8, 0.2, 0.4
    config = GuardrailConfig(max_fallback_increase=0)
    wrong, pooled = 0, 0
    for _ in range(runs):
        canary, stranger = random.random(people) < share, random.random(people) < 0.15
        order = np.concatenate([random.permutation(people) for _ in range(days)])
        frame = of(
            {"fallback": stranger[order].astype(float).tolist()},
            canary[order].tolist(),
            np.repeat(np.arange(days), people).tolist(),
        )
        wrong += guard(frame, config, share=share, alpha=4 * alpha, rounds=days)["fallback"].harm
        together = frame.with_columns(pl.lit(0).alias("round"))
        pooled += guard(together, config, share=share, alpha=4 * alpha, rounds=1)["fallback"].harm
    assert stats.binomtest(wrong, runs, alpha, alternative="greater").pvalue > 0.01
    assert wrong < pooled
    one_round = sum(
        guard(
            of(
                {"fallback": (random.random(people) < 0.15).astype(float).tolist()},
                (random.random(people) < share).tolist(),
            ),
            config,
            share=share,
            alpha=4 * alpha,
            rounds=1,
        )["fallback"].harm
        for _ in range(runs)
    )
    assert 0.02 < one_round / runs <= alpha
