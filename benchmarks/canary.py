"""How often a canary is decided on wrongly, and how soon a bad one is rolled back: simulated, judged every day.

    python -m benchmarks.canary

Each day new users come, so many for each arm as the share says; each has a number of clicks on one slate. Writes
`benchmarks/canary.json` and `benchmarks/CANARY.md`.
"""

import json
from pathlib import Path

import numpy as np

from recloop.loop.sequential import Arms, SequentialConfig, Sums, interval, shares

FOLDER = Path("benchmarks")
RUNS, USERS_A_DAY, SHARE, RATE, EMPTY = 200, 2_000, 0.1, 0.1, 0.01
EFFECTS = (-0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5)
LOOKS_A_DAY = 24


def simulate(effect: float, config: SequentialConfig, *, seed: int) -> dict[str, float]:
    """What becomes of `RUNS` canaries whose click rate is `1 + effect` times the champion's."""
    random = np.random.default_rng(seed)
    looks = round(config.max_days * LOOKS_A_DAY)
    users = random.poisson(np.array([SHARE, 1 - SHARE])[:, None, None] * USERS_A_DAY / LOOKS_A_DAY, (2, RUNS, looks))
    rates = (RATE * (1 + effect), RATE)
    clicks = [random.binomial(users[arm], rates[arm]) for arm in (0, 1)]
    empty = [random.binomial(users[arm], EMPTY) for arm in (0, 1)]
    of_reward, of_guardrail = shares(config, 1)
    low, high = interval(_arms(users, clicks), of_reward, config)
    harm, _ = interval(_arms(users, empty), of_guardrail, config)
    bad, good = (high < 0) | (harm > 0), low > 0
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


def _arms(users: np.ndarray, counts: list[np.ndarray]) -> Arms:
    def sums(arm: int) -> Sums:
        total = np.cumsum(counts[arm], axis=1, dtype=np.float64)
        return Sums(count=np.cumsum(users[arm], axis=1, dtype=np.float64), total=total, squares=total)

    return Arms(canary=sums(0), champion=sums(1))


def main() -> None:
    """Simulate every effect and write both files."""
    config = SequentialConfig()
    rows = [simulate(effect, config, seed=number) for number, effect in enumerate(EFFECTS)]
    setting = {"runs": RUNS, "users_a_day": USERS_A_DAY, "share": SHARE, "click_rate": RATE, "alpha": config.alpha}
    report = {"setting": setting, "config": config.model_dump(mode="json"), "effects": rows}
    (FOLDER / "canary.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (FOLDER / "CANARY.md").write_text(_page(rows, config), encoding="utf-8")


def _page(rows: list[dict[str, float]], config: SequentialConfig) -> str:
    lines = [
        "# Canaries",
        "",
        f"`python -m benchmarks.canary`: {RUNS} simulated canaries an effect, {USERS_A_DAY:,} new users a day,",
        f"{SHARE:.0%} of them in the canary, click rate {RATE:g}, judged {LOOKS_A_DAY} times a day for at most",
        f"{config.max_days:g} days, alpha {config.alpha:g}. A user counts at once; in service one counts when",
        "the events' window is over. Effect 0 is an A/A canary: every decision there is wrong. Traffic-days: the share",
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
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
