import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recloop.config import parse
from recloop.errors import ConfigError
from recloop.evaluation.gate import Contender, Decision, Floors, GateConfig, decide

NO_FLOORS = Floors(at_least={}, slices={}, latency_p95_ms=None)
PLAIN = GateConfig(floors=NO_FLOORS, samples=1000)


def contender(
    model: str,
    values: Sequence[float] | np.ndarray,
    *,
    metrics: Mapping[str, float] | None = None,
    slices: Mapping[str, tuple[int, float]] | None = None,
    latency: tuple[float, float] | None = None,
    bundle: str | None = None,
    is_champion: bool = False,
) -> Contender:
    values = np.asarray(values, dtype=float)
    return Contender(
        model=model,
        users=pl.DataFrame({"user_id": [f"u{i}" for i in range(len(values))], "ndcg@10": values, "examples": 2}),
        metrics={"ndcg@10": float(values.mean())} | dict(metrics or {}),
        slices={name: {"users": users, "ndcg@10": value} for name, (users, value) in (slices or {}).items()},
        latency_ms=dict(zip(("mean", "p95"), latency, strict=True)) if latency else {},
        bundle=bundle,
        is_champion=is_champion,
    )


def levels(level: float, users: int = 40) -> np.ndarray:
    """Values whose pairwise differences between levels are constant, so that intervals have no width."""
    return np.linspace(0.0, 0.3, users) + level


POPULARITY = contender("popularity", levels(0.1))
CHAMPION = contender("item_knn", levels(0.2), bundle="abc123")


def only(decision: Decision, model: str) -> dict[str, object]:
    return next(one for one in json.loads(json.dumps(decision.record()))["candidates"] if one["model"] == model)


def test_a_challenger_that_beats_both_is_promoted_with_its_numbers() -> None:
    decision = decide([contender("ease", levels(0.25))], baseline=POPULARITY, champion=CHAMPION, config=PLAIN)
    record = json.loads(json.dumps(decision.record(), allow_nan=False))
    assert (record["verdict"], record["winner"], record["metric"]) == ("promote", "ease", "ndcg@10")
    assert record["champion"] == {"bundle": "abc123", "model": "item_knn"}
    ease = record["candidates"][0]
    assert ease["passed"] is True
    assert ease["value"] == pytest.approx(0.4)
    assert ease["against"]["popularity"]["difference"] == pytest.approx(0.15)
    assert ease["against"]["champion"]["difference"] == pytest.approx(0.05)
    assert ease["against"]["champion"]["ci95"] == pytest.approx([0.05, 0.05])
    assert ease["against"]["champion"]["level"] == 0.95
    assert record["reasons"] == [
        "ease replaces the champion item_knn: its ndcg@10 is 0.4000.",
        f"ease beats popularity: {numbers('0.1500')}",
        f"ease beats the champion item_knn: {numbers('0.0500')}",
    ]


def numbers(x: str) -> str:
    return f"its ndcg@10 differs by +{x} and the 95% interval over 40 users, +{x} to +{x}, lies above 0."


def test_beating_popularity_alone_is_not_enough() -> None:
    decision = decide([contender("als", levels(0.15))], baseline=POPULARITY, champion=CHAMPION, config=PLAIN)
    assert (decision.verdict, decision.winner) == ("keep", None)
    assert decision.reasons[0] == "No challenger passed, so the champion item_knn stays."
    assert "als does not surely beat the champion item_knn: its ndcg@10 differs by -0.0500" in decision.reasons[2]
    assert decision.reasons[2].endswith("does not lie above 0.")


def test_beating_a_bad_champion_alone_is_not_enough() -> None:
    bad = contender("als", levels(0.0), bundle="b")
    decision = decide([contender("ease", levels(0.05))], baseline=POPULARITY, champion=bad, config=PLAIN)
    assert decision.verdict == "keep"
    assert any(reason.startswith("ease does not surely beat popularity") for reason in decision.reasons)


def test_popularity_may_replace_a_champion_that_went_bad() -> None:
    bad = contender("als", levels(0.0), bundle="b")
    decision = decide([POPULARITY], baseline=POPULARITY, champion=bad, config=PLAIN)
    assert (decision.verdict, decision.winner) == ("promote", "popularity")
    assert only(decision, "popularity")["against"]["popularity"] is None


def test_an_improvement_must_exceed_the_margin() -> None:
    config = PLAIN.model_copy(update={"min_improvement": 0.06})
    decision = decide([contender("ease", levels(0.25))], baseline=POPULARITY, champion=CHAMPION, config=config)
    assert decision.verdict == "keep"
    assert decision.reasons[-1].endswith("does not lie above 0.06.")


def test_an_unsure_improvement_does_not_pass() -> None:
    random = np.random.default_rng(0)
    noisy = levels(0.1) + random.normal(0.01, 0.3, 40)
    decision = decide([contender("als", noisy)], baseline=POPULARITY, champion=None, config=PLAIN)
    assert (decision.verdict, decision.winner) == ("keep", "popularity")


def test_without_a_champion_the_best_challenger_becomes_the_first() -> None:
    candidates = [POPULARITY, contender("als", levels(0.2)), contender("ease", levels(0.3))]
    decision = decide(candidates, baseline=POPULARITY, champion=None, config=PLAIN)
    assert (decision.verdict, decision.winner, decision.champion) == ("promote", "ease", None)
    assert decision.reasons[0] == (
        "ease becomes the first champion: its ndcg@10 is 0.4500, ahead of als (0.3500), which passed too."
    )
    popularity = only(decision, "popularity")
    assert popularity["passed"] is False
    assert popularity["against"] == {"popularity": None, "champion": None}
    assert popularity["reasons"] == [
        "popularity is the baseline that challengers must beat while there is no champion."
    ]


def test_of_equal_challengers_the_first_by_name_wins() -> None:
    candidates = [contender("sasrec", levels(0.3)), contender("ease", levels(0.3))]
    assert decide(candidates, baseline=POPULARITY, champion=None, config=PLAIN).winner == "ease"


def test_without_champion_and_winner_popularity_is_to_serve() -> None:
    candidates = [POPULARITY, contender("als", levels(0.05))]
    decision = decide(candidates, baseline=POPULARITY, champion=None, config=PLAIN)
    assert (decision.verdict, decision.winner) == ("keep", "popularity")
    assert decision.reasons[0] == "No challenger passed, so the baseline popularity is to serve."


def test_a_baseline_that_was_not_trained_is_to_serve_too() -> None:
    decision = decide([contender("als", levels(0.05))], baseline=POPULARITY, champion=None, config=PLAIN)
    assert (decision.verdict, decision.winner) == ("keep", "popularity")


def test_no_candidate_at_all_keeps_the_champion() -> None:
    decision = decide([], baseline=POPULARITY, champion=CHAMPION, config=PLAIN)
    assert (decision.verdict, decision.candidates) == ("keep", [])


def test_the_champion_itself_is_recognised_and_not_counted() -> None:
    itself = contender("item_knn", levels(0.2), is_champion=True)
    decision = decide([itself, contender("ease", levels(0.15))], baseline=POPULARITY, champion=CHAMPION, config=PLAIN)
    assert decision.verdict == "keep"
    knn = only(decision, "item_knn")
    assert knn["passed"] is False
    assert knn["against"]["champion"] is None
    assert knn["against"]["popularity"]["difference"] == pytest.approx(0.1)
    assert knn["reasons"] == ["item_knn is the champion already: its weights equal those of bundle abc123."]
    assert only(decision, "ease")["against"]["champion"]["level"] == 0.95  # one challenger only


def test_more_challengers_need_wider_intervals() -> None:
    random = np.random.default_rng(1)
    candidates = [contender(name, levels(0.1) + random.normal(0.03, 0.1, 40)) for name in ("als", "ease", "sasrec")]
    alone = decide(candidates[:1], baseline=POPULARITY, champion=None, config=PLAIN)
    three = decide(candidates, baseline=POPULARITY, champion=None, config=PLAIN)
    assert three.candidates[0].against["popularity"].level == pytest.approx(1 - 0.05 / 3)
    assert three.candidates[0].against["popularity"].ci95 == alone.candidates[0].against["popularity"].interval
    assert three.candidates[0].against["popularity"].interval[0] < alone.candidates[0].against["popularity"].interval[0]
    assert three.reasons[-1] == (
        "As 3 challengers were tried, each was judged by its 98.33% interval: if none of them had any merit, one would "
        "still be promoted in at most about 2.5% of such decisions."
    )


def with_floors(**floors: object) -> GateConfig:
    return parse(
        GateConfig,
        {"samples": 1000, "floors": {"at_least": {}, "slices": {}, "latency_p95_ms": None} | floors},
        "params.yaml: gate",
    )


@pytest.mark.parametrize(("coverage", "verdict"), [(0.05, "promote"), (0.0499, "keep")])
def test_a_floor_of_a_metric(coverage: float, verdict: str) -> None:
    ease = contender("ease", levels(0.3), metrics={"coverage@10": coverage})
    rival = contender("popularity", levels(0.1), metrics={"coverage@10": 0.01})
    decision = decide([ease], baseline=rival, champion=None, config=with_floors(at_least={"coverage@10": 0.05}))
    assert decision.verdict == verdict
    floor = {"name": "coverage@10", "value": coverage, "bound": 0.05, "passed": verdict == "promote"}
    assert only(decision, "ease")["floors"] == [floor]
    broken = "ease breaks the floor of coverage@10: 0.0499 is below 0.0500."
    assert (broken in decision.reasons) == (verdict == "keep")


@pytest.mark.parametrize(("bias", "verdict"), [(1.5, "promote"), (1.5001, "keep")])
def test_a_ceiling_of_a_metric(bias: float, verdict: str) -> None:
    ease = contender("ease", levels(0.3), metrics={"popularity_bias@10": bias})
    rival = contender("popularity", levels(0.1), metrics={"popularity_bias@10": 9.0})
    decision = decide([ease], baseline=rival, champion=None, config=with_floors(at_most={"popularity_bias@10": 1.5}))
    assert decision.verdict == verdict
    floor = {"name": "popularity_bias@10", "value": bias, "bound": 1.5, "passed": verdict == "promote"}
    assert only(decision, "ease")["floors"] == [floor]
    broken = "ease breaks the ceiling of popularity_bias@10: 1.5001 is above 1.5000."
    assert (broken in decision.reasons) == (verdict == "keep")


@pytest.mark.parametrize(("value", "verdict"), [(0.081, "promote"), (0.079, "keep")])
def test_a_floor_of_a_slice_is_relative_to_the_champion(value: float, verdict: str) -> None:
    ease = contender("ease", levels(0.3), slices={"cold_users": (50, value)})
    rivals = [
        contender(name, levels(level), slices={"cold_users": (50, cold)}, bundle="b")
        for name, level, cold in (("popularity", 0.1, 0.9), ("als", 0.2, 0.1))
    ]
    decision = decide([ease], baseline=rivals[0], champion=rivals[1], config=with_floors(slices={"cold_users": 0.2}))
    assert decision.verdict == verdict
    assert only(decision, "ease")["floors"][0]["name"] == "ndcg@10 in cold_users"
    assert only(decision, "ease")["floors"][0]["bound"] == pytest.approx(0.08)
    broken = (
        "ease loses too much in the slice cold_users: its ndcg@10 of 0.0790 is below 0.0800, which is 80% of what als "
        "has there."
    )
    assert (broken in decision.reasons) == (verdict == "keep")


def test_without_a_champion_the_slice_is_relative_to_the_baseline() -> None:
    ease = contender("ease", levels(0.3), slices={"tail_items": (50, 0.5)})
    rival = contender("popularity", levels(0.1), slices={"tail_items": (50, 0.8)})
    decision = decide([ease], baseline=rival, champion=None, config=with_floors(slices={"tail_items": 0.25}))
    assert decision.verdict == "keep"
    assert only(decision, "ease")["floors"][0]["bound"] == pytest.approx(0.6)


def test_a_slice_with_few_users_is_not_judged() -> None:
    ease = contender("ease", levels(0.3), slices={"cold_users": (29, 0.0)})
    rival = contender("popularity", levels(0.1), slices={"cold_users": (29, 0.5)})
    decision = decide([ease], baseline=rival, champion=None, config=with_floors(slices={"cold_users": 0.2}))
    assert decision.verdict == "promote"
    assert only(decision, "ease")["floors"] == []
    assert "The slice cold_users is not judged: 29 users are fewer than 30." in decision.reasons


@pytest.mark.parametrize(("name", "bound", "verdict"), [("mean", 5.0, "promote"), ("p95", 8.5, "keep")])
def test_a_ceiling_on_latency(name: str, bound: float, verdict: str) -> None:
    ease = contender("ease", levels(0.3), latency=(5.0, 9.0))
    config = with_floors(**{f"latency_{name}_ms": bound})
    decision = decide([ease], baseline=POPULARITY, champion=None, config=config)
    assert decision.verdict == verdict
    floor = only(decision, "ease")["floors"][0]
    assert (floor["name"], floor["bound"], floor["passed"]) == (f"latency_{name}_ms", bound, verdict == "promote")
    slow = "ease is too slow: the p95 time of a request is 9.0 ms, above 8.5 ms."
    assert (slow in decision.reasons) == (verdict == "keep")


def test_an_unknown_metric_names_the_known_ones() -> None:
    config = PLAIN.model_copy(update={"metric": "ndgc@10"})
    with pytest.raises(ConfigError) as caught:
        decide([contender("ease", levels(0.3))], baseline=POPULARITY, champion=None, config=config)
    assert str(caught.value) == (
        "params.yaml: gate.metric is 'ndgc@10', which ease does not have for every user; choose one of these or add it "
        "to evaluate.metrics: ndcg@10."
    )


def test_an_error_of_ratings_cannot_decide() -> None:
    ease = contender("ease", levels(0.3), metrics={"rmse": 0.9})
    ease = replace(ease, users=ease.users.with_columns(rmse=0.9))
    with pytest.raises(ConfigError, match=r"gate.metric is 'rmse', .* evaluate.metrics: ndcg@10\.$"):
        decide([ease], baseline=POPULARITY, champion=None, config=PLAIN.model_copy(update={"metric": "rmse"}))


def test_a_metric_that_is_not_taken_from_ranks_cannot_decide() -> None:
    ease = contender("ease", levels(0.3), metrics={"popularity_bias@10": 0.9})
    ease = replace(ease, users=ease.users.with_columns(pl.lit(0.9).alias("popularity_bias@10")))
    config = PLAIN.model_copy(update={"metric": "popularity_bias@10"})
    with pytest.raises(ConfigError, match=r"gate.metric is 'popularity_bias@10', .* evaluate.metrics: ndcg@10\.$"):
        decide([ease], baseline=POPULARITY, champion=None, config=config)


@pytest.mark.parametrize(("users", "challengers", "verdict"), [(5, 1, "keep"), (6, 1, "promote"), (6, 2, "keep")])
def test_a_handful_of_users_decides_nothing(users: int, challengers: int, verdict: str) -> None:
    rival = contender("popularity", levels(0.1, users))
    candidates = [contender(name, levels(0.3, users)) for name in ("ease", "als")[:challengers]]
    decision = decide(candidates, baseline=rival, champion=None, config=PLAIN)
    assert decision.verdict == verdict
    unjudged = (
        f"ease cannot be judged: among {users} users, being better for every one of them is no evidence at a level of "
        f"{95 if challengers == 1 else 97.5}%."
    )
    assert (unjudged in decision.reasons) == (verdict == "keep")


@pytest.mark.parametrize("key", ["at_least", "at_most"])
def test_a_floor_of_an_unknown_metric_names_the_known_ones(key: str) -> None:
    config = with_floors(**{key: {"coverage@20": 0.1}})
    with pytest.raises(ConfigError) as caught:
        decide([contender("ease", levels(0.3))], baseline=POPULARITY, champion=None, config=config)
    assert str(caught.value) == (
        f"params.yaml: gate.floors.{key} names 'coverage@20', which ease does not have; add it to evaluate.metrics "
        "or choose from: ndcg@10."
    )


def test_an_unknown_slice_names_the_known_ones() -> None:
    rival = contender("popularity", levels(0.1), slices={"cold_users": (29, 0.5)})
    with pytest.raises(ConfigError) as caught:
        decide([], baseline=rival, champion=None, config=with_floors(slices={"warm_users": 0.1}))
    assert str(caught.value) == (
        "params.yaml: gate.floors.slices names 'warm_users', which is not a slice; choose from: cold_users."
    )


def test_slices_of_another_metric_are_refused() -> None:
    ease = contender("ease", levels(0.3), slices={"cold_users": (50, 0.1)})
    ease = replace(ease, slices={"cold_users": {"users": 50, "recall@10": 0.1}})
    rival = contender("popularity", levels(0.1), slices={"cold_users": (50, 0.1)})
    with pytest.raises(ConfigError) as caught:
        decide([ease], baseline=rival, champion=None, config=with_floors(slices={"cold_users": 0.1}))
    assert str(caught.value) == (
        "params.yaml: gate.floors.slices needs 'ndcg@10' for each slice, which ease lacks; name it first in "
        "evaluate.metrics or empty gate.floors.slices."
    )


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"params.yaml: gate.floors.slices.cold_users is 1.5, but .*; correct the"):
        with_floors(slices={"cold_users": 1.5})


def test_other_users_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="ease was evaluated on other users than popularity"):
        decide([contender("ease", levels(0.3, users=39))], baseline=POPULARITY, champion=None, config=PLAIN)


def test_challengers_of_no_merit_pass_at_most_at_the_nominal_rate() -> None:
    # Four challengers, the champion and popularity are draws of one quality for the same 80 users.
    trials, promoted = 300, 0
    for seed in range(trials):
        random = np.random.default_rng(seed)
        taste = random.beta(0.5, 2, 80)
        draws = [np.clip(taste + random.normal(0, 0.15, 80), 0, 1) for _ in range(5)]
        champion = contender("als", draws[0], bundle="b")
        challengers = [contender(f"m{i}", values) for i, values in enumerate(draws[1:])]
        baseline = contender("popularity", taste - 1)  # beaten by all: the champion alone decides
        promoted += decide(challengers, baseline=baseline, champion=champion, config=PLAIN).verdict == "promote"
    assert promoted / trials <= 0.025 + 2 * (0.025 * 0.975 / trials) ** 0.5
