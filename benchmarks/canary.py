"""How often a canary is decided on wrongly, and how soon a bad one is rolled back: simulated.

    python -m benchmarks.canary

By reward: each day new users come, so many for each arm as the share says; each has a number of clicks on one slate. By
preference: the same users see slates of both, five places of each, which are clicked as often as in whole slates. By
the guardrails: the same people come every day, each for a visit of some requests, and differ much. Writes
`benchmarks/canary.json` and `benchmarks/CANARY.md`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from recloop.loop.canary import CanaryConfig
from recloop.loop.guardrails import evidence
from recloop.loop.preference import evidence as preference
from recloop.loop.sequential import OF_REWARD, Arms, SequentialConfig, Sums, interval

FOLDER = Path("benchmarks")
RUNS, USERS_A_DAY, SHARE, RATE = 200, 2_000, 0.1, 0.1
EFFECTS = (-0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5)
LOOKS_A_DAY, PLACES = 24, 10
CLICKS, SPREAD = 3.0, 0.5
"""Of people who click often: the mean, and the shape of its gamma distribution."""
VISIT, FAILING, STRANGERS, MILLISECONDS = 3, 0.005, 0.1, 6.0
"""Requests of a visit; of them fail; of the people have no history; the median answer."""
HARMS = (
    ("none (A/A)", {}),
    ("as much more as is allowed", {"failing": FAILING + 0.01, "strangers": STRANGERS + 0.05}),
    ("2% of the requests fail", {"failing": 0.02}),
    ("10% fail", {"failing": 0.1}),
    ("100% fail", {"failing": 1.0}),
    ("20% of the people have no history", {"strangers": 0.2}),
    ("twice as slow", {"slower": 2.0}),
    ("5 times as slow", {"slower": 5.0}),
    ("20 times as slow", {"slower": 20.0}),
)


def simulate(effect: float, config: SequentialConfig, *, seed: int) -> dict[str, float]:
    """What becomes of `RUNS` canaries whose click rate is `1 + effect` times the champion's."""
    random = np.random.default_rng(seed)
    looks = round(config.max_days * LOOKS_A_DAY)
    users = random.poisson(np.array([SHARE, 1 - SHARE])[:, None, None] * USERS_A_DAY / LOOKS_A_DAY, (2, RUNS, looks))
    rates = (RATE * (1 + effect), RATE)
    clicks = [random.binomial(users[arm], rates[arm]) for arm in (0, 1)]
    low, high = interval(_arms(users, clicks), config.alpha * OF_REWARD, config)
    bad, good = high < 0, low > 0
    decided = bad | good
    at = np.where(decided.any(axis=1), decided.argmax(axis=1), looks - 1)
    chosen = np.arange(RUNS), at
    return {
        "effect": effect,
        "rolled_back": float(bad[chosen].mean()),
        "promoted": float((good & ~bad)[chosen].mean()),
        "days": float((at + 1).mean() / LOOKS_A_DAY),
        "traffic_days": float(SHARE * (at + 1).mean() / looks),
    }


def harm(
    config: CanaryConfig, *, seed: int, failing: float = FAILING, strangers: float = STRANGERS, slower: float = 1.0
) -> dict[str, float]:
    """How many of `RUNS` canaries that do this to their people are taken back, and after how many days."""
    random, rules = np.random.default_rng(seed), config.guardrails
    limits, days = rules.limits(), config.rounds
    needed = np.log(days * len(limits) / (config.test.alpha * (1 - OF_REWARD)))
    ends = np.full(RUNS, np.inf)
    for run in range(RUNS):
        canary = random.random(USERS_A_DAY) < SHARE
        trait, pace = random.random(USERS_A_DAY), random.lognormal(0, 0.5, USERS_A_DAY)
        for day in range(days):
            order = random.permutation(USERS_A_DAY)
            mine = canary[order]
            took = 1e-3 * MILLISECONDS * random.lognormal(0, 0.6, (VISIT, USERS_A_DAY)) * pace[order]
            took = np.minimum(took * np.where(mine, slower, 1), rules.longest_seconds).mean(axis=0)
            values = {
                "failed": random.binomial(VISIT, np.where(mine, failing, FAILING)) / VISIT,
                "fallback": (trait[order] < np.where(mine, strangers, STRANGERS)).astype(np.float64),
                "latency": took / rules.longest_seconds,
            }
            for name, of_day in values.items():
                over = np.concatenate(list(evidence(of_day, mine, share=SHARE, limit=limits[name]))) > needed
                if over.any():
                    ends[run] = min(ends[run], day + (over.argmax() + 1) / USERS_A_DAY)
            if np.isfinite(ends[run]):
                break
    back = np.isfinite(ends)
    return {"taken_back": float(back.mean()), "days": float(np.median(ends[back])) if back.any() else float("nan")}


def interleave(effect: float, config: SequentialConfig, *, seed: int) -> dict[str, float]:
    """What becomes of `RUNS` interleaved challengers whose places are clicked `1 + effect` times as often."""
    random = np.random.default_rng(seed)
    looks = round(config.max_days * LOOKS_A_DAY)
    users = random.poisson(SHARE * USERS_A_DAY / LOOKS_A_DAY, (RUNS, looks))
    clicks = np.arange(PLACES // 2 + 1)
    of_challenger, of_champion = (binom.pmf(clicks, PLACES // 2, RATE / PLACES * more) for more in (1 + effect, 1))
    both = np.outer(of_challenger, of_champion)
    wins, losses = float(np.tril(both, -1).sum()), float(np.triu(both, 1).sum())
    found = random.multinomial(users, [wins, losses, 1 - wins - losses]).cumsum(axis=1)
    decided = preference(found[..., 0], found[..., 1]) >= -np.log(config.alpha * OF_REWARD)
    at = np.where(decided.any(axis=1), decided.argmax(axis=1), looks - 1)
    end = found[np.arange(RUNS), at]
    over, good = decided.any(axis=1), end[:, 0] > end[:, 1]
    return {
        "effect": effect,
        "rolled_back": float((over & ~good).mean()),
        "promoted": float((over & good).mean()),
        "days": float((at + 1).mean() / LOOKS_A_DAY),
    }


def lively(effect: float, config: SequentialConfig, *, seed: int) -> dict[str, Any]:
    """Both ways where people click often and differ: a user's clicks on one slate are Poisson of a gamma mean."""
    random = np.random.default_rng(seed)
    looks = round(config.max_days * LOOKS_A_DAY)
    users = round(config.max_days * USERS_A_DAY)
    ends = (np.arange(looks) + 1) * users // looks - 1
    outcomes: dict[str, list[tuple[bool, bool, float]]] = {"canary": [], "interleaved": []}
    for _ in range(RUNS):
        mine, mean = random.random(users) < SHARE, random.gamma(SPREAD, CLICKS / SPREAD, users)
        clicks = random.poisson(mean * np.where(mine, 1 + effect, 1)).astype(np.float64)
        sums = [
            Sums(
                count=np.cumsum(arm)[ends],
                total=np.cumsum(clicks * arm)[ends],
                squares=np.cumsum(clicks**2 * arm)[ends],
            )
            for arm in (mine.astype(np.float64), (~mine).astype(np.float64))
        ]
        low, high = interval(Arms(canary=sums[0], champion=sums[1]), config.alpha * OF_REWARD, config)
        outcomes["canary"].append(_end(high < 0, low > 0))
        margin = random.poisson(mean / 2 * (1 + effect)) - random.poisson(mean / 2)
        won, lost = (np.cumsum(mine & (sign * margin > 0))[ends] for sign in (1, -1))
        over = preference(won, lost) >= -np.log(config.alpha * OF_REWARD)
        outcomes["interleaved"].append(_end(over & (lost > won), over & (won > lost)))
    found: dict[str, Any] = {"effect": effect}
    for name, ended in outcomes.items():
        bad, good, days = np.array(ended, dtype=np.float64).mean(axis=0).tolist()
        found[name] = {"rolled_back": bad, "promoted": good, "days": days}
    return found


def _end(bad: np.ndarray, good: np.ndarray) -> tuple[bool, bool, float]:
    """Whether it ended so or so, and after how many days."""
    over = bad | good
    at = int(over.argmax()) if over.any() else len(over) - 1
    return bool(bad[at]), bool(good[at]), (at + 1) / LOOKS_A_DAY


def _arms(users: np.ndarray, counts: list[np.ndarray]) -> Arms:
    def sums(arm: int) -> Sums:
        total = np.cumsum(counts[arm], axis=1, dtype=np.float64)
        return Sums(count=np.cumsum(users[arm], axis=1, dtype=np.float64), total=total, squares=total)

    return Arms(canary=sums(0), champion=sums(1))


def main() -> None:
    """Simulate every effect and write both files."""
    whole = CanaryConfig()
    config = whole.test
    rows = [simulate(effect, config, seed=number) for number, effect in enumerate(EFFECTS)]
    both = [interleave(effect, config, seed=number) for number, effect in enumerate(EFFECTS)]
    often = [lively(effect, config, seed=number) for number, effect in enumerate(EFFECTS)]
    harms = [{"harm": name} | harm(whole, seed=number, **how) for number, (name, how) in enumerate(HARMS)]
    setting = {"runs": RUNS, "users_a_day": USERS_A_DAY, "share": SHARE, "click_rate": RATE, "alpha": config.alpha}
    report: dict[str, Any] = {
        "setting": setting,
        "config": whole.model_dump(mode="json"),
        "effects": rows,
        "interleaved": both,
    }
    report |= {"lively": often, "harms": harms}
    (FOLDER / "canary.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (FOLDER / "CANARY.md").write_text(_page(rows, both, often, harms, whole), encoding="utf-8")


def _page(
    rows: list[dict[str, float]],
    both: list[dict[str, float]],
    often: list[dict[str, Any]],
    harms: list[dict[str, Any]],
    whole: CanaryConfig,
) -> str:
    config, rules = whole.test, whole.guardrails
    more = 1e3 * rules.max_latency_increase_seconds
    lines = [
        "# Canaries",
        "",
        "## By reward",
        "",
        f"`python -m benchmarks.canary`: {RUNS} simulated canaries an effect, {USERS_A_DAY:,} new users a day,",
        f"{SHARE:.0%} of them in the canary, click rate {RATE:g}, judged {LOOKS_A_DAY} times a day for at most",
        f"{config.max_days:g} days; {OF_REWARD:.0%} of alpha {config.alpha:g} are for this. A user counts at once; in",
        "service when the day and the events' window after it are over. Effect 0 is an A/A canary: every decision",
        "there is wrong. Traffic-days: the share",
        f"of all users' days in the {config.max_days:g} days that the canary was shown to before its end.",
        "",
        "| effect on clicks | rolled back | promoted | mean days | traffic-days |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['effect']:+.0%} | {row['rolled_back']:.1%} | {row['promoted']:.1%} | {row['days']:.1f} | "
        f"{row['traffic_days']:.2%} |"
        for row in rows
    ]
    lines += [
        "",
        "## By preference, interleaved",
        "",
        f"The same {SHARE:.0%} of the users see slates of {PLACES} places, half of them picked by either model; one is",
        f"clicked with probability {RATE / PLACES:g}, one of the challenger with the effect. The two models pick",
        "different items, which is the best case for interleaving, and an effect lies in each place by itself. Of",
        "days, the mean, those of the canary above beside it.",
        "",
        "| effect on clicks | rolled back | promoted | days | days of the canary |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['effect']:+.0%} | {row['rolled_back']:.1%} | {row['promoted']:.1%} | {row['days']:.1f} | "
        f"{canary['days']:.1f} |"
        for row, canary in zip(both, rows, strict=True)
    ]
    lines += [
        "",
        f"The same where people click often and differ: {CLICKS:g} clicks on a slate in the mean, which is a gamma",
        f"variable of shape {SPREAD:g} over the users. Both ways are simulated with the same people.",
        "",
        "| effect on clicks | canary: rolled back | promoted | days | interleaved: rolled back | promoted | days |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in often:
        cells = [
            f"{way['rolled_back']:.1%} | {way['promoted']:.1%} | {way['days']:.1f}"
            for way in (row["canary"], row["interleaved"])
        ]
        lines.append(f"| {row['effect']:+.0%} | {' | '.join(cells)} |")
    lines += [
        "",
        "## By the guardrails",
        "",
        f"{RUNS} canaries a row, {SHARE:.0%} of {USERS_A_DAY:,} people who all come every day for {VISIT} requests;",
        f"{FAILING:.1%} of the requests fail, {STRANGERS:.0%} of the people have no history, and an answer takes",
        f"{MILLISECONDS:g} ms at the median (lognormal, 0.6 within and 0.5 between people), but for what the canary",
        f"does. Allowed: {rules.max_error_increase:.0%} more failures, {rules.max_fallback_increase:.0%} more without",
        f"a history, {rules.max_latency_ratio:g} times the time and {more:g} ms more. Judged after every person, for",
        f"{config.max_days:g} days; {1 - OF_REWARD:.0%} of alpha are for this. Days: the",
        "median of those taken back.",
        "",
        "| what the canary does | taken back | days |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {row['harm']} | {row['taken_back']:.1%} | {_days(row['days'])} |" for row in harms]
    return "\n".join(lines) + "\n"


def _days(days: float) -> str:
    return "" if np.isnan(days) else f"{days:.2f}"


if __name__ == "__main__":
    main()
