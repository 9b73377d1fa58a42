"""How canaries end, where it is known how they should: false ends, how soon bad ones are taken back, good ones found.

    python -m benchmarks.canary

Made-up traffic: 3,000 people, each with a liking of their own (on average a fifth of the slates are acted on), who come
back at their own pace, two slates in three days on average, over 14 days; a share of them, at random, is shown the
challenger's slates, which they like more or less by `lift`. A look every six hours, as the loop's own
review does, ends the canary as soon as anything is sure. Traffic seen is the share of all slates of the 14 days that
were the challenger's before the end.

Results go to `benchmarks/canary.json`, from which `benchmarks/CANARY.md` is written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.published.protocols import ROOT
from recloop.loop.sequential import Arm, CanaryConfig, review

RESULTS = ROOT / "benchmarks" / "canary.json"
TABLE = ROOT / "benchmarks" / "CANARY.md"
USERS, LOOKS_A_DAY, SLATES_A_DAY = 3_000, 4, 0.7
CASES = ((0.0, 0.3, 1_000), (-0.15, 0.05, 200), (-0.1, 0.05, 200), (-0.05, 0.3, 200), (0.05, 0.3, 200), (0.1, 0.3, 200))
"""Lift, share of people in the canary, and runs."""


@dataclass(frozen=True, kw_only=True)
class Canary:
    """How one ended.

    Attributes:
        end: ``promote`` or ``rollback`` by the interval, else ``undecided``.
        days: when.
        seen: share of the slates of all days that were the challenger's until then.
    """

    end: str
    days: float
    seen: float


def main() -> None:
    """Run all cases, and write both files."""
    config = CanaryConfig()
    record = {
        "config": config.model_dump(),
        "cases": [
            {"lift": lift, "share": share, **summary(canaries(runs, lift=lift, share=share, seed=1, config=config))}
            for lift, share, runs in CASES
        ],
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(table(record), encoding="utf-8")
    print(table(record))


def canaries(runs: int, *, lift: float, share: float, seed: int, config: CanaryConfig) -> list[Canary]:
    """Canaries on people who come back; see the module's docstring."""
    return [_canary(np.random.default_rng([seed, run]), lift, share, config) for run in range(runs)]


def _canary(rng: np.random.Generator, lift: float, share: float, config: CanaryConfig) -> Canary:
    challenged = rng.random(USERS) < share
    liking = np.clip(rng.beta(2, 8, USERS) + lift * challenged, 0, 1)
    activity = rng.gamma(0.7, 1 / 0.7, USERS) * SLATES_A_DAY / LOOKS_A_DAY
    slates, acted, look = np.zeros(USERS), np.zeros(USERS), 0
    while True:
        look += 1
        shown = rng.poisson(activity)
        slates += shown
        acted += rng.binomial(shown, liking)
        arms: list[Arm] = []
        for chosen in (~challenged, challenged):
            seen = chosen & (slates > 0)
            arms.append(Arm(slates=slates[seen], acted=acted[seen], empty=np.zeros(int(seen.sum()))))
        outcome = review(arms[0], arms[1], config, days=look / LOOKS_A_DAY)
        if outcome.verdict != "wait":
            break
    sure = outcome.acted is not None and not outcome.acted.low <= 0 <= outcome.acted.high
    traffic = activity.sum() * config.max_days * LOOKS_A_DAY
    return Canary(
        end=outcome.verdict if sure else "undecided",
        days=look / LOOKS_A_DAY,
        seen=float(slates[challenged].sum() / traffic),
    )


def summary(found: Sequence[Canary]) -> dict[str, Any]:
    """Shares of the ends, median days, and the median and largest traffic seen."""
    return {
        "runs": len(found),
        **{end: sum(one.end == end for one in found) / len(found) for end in ("promote", "rollback", "undecided")},
        "median_days": float(np.median([one.days for one in found])),
        "median_seen": float(np.median([one.seen for one in found])),
        "largest_seen": max(one.seen for one in found),
    }


def table(record: dict[str, Any]) -> str:
    """CANARY.md."""
    lines = [
        "# How canaries end",
        "",
        "Written by `python -m benchmarks.canary`, which says what is simulated. A canary that is no different should",
        f"end by the interval in at most {record['config']['alpha']:.0%} of all cases; the undecided are taken back.",
        "",
        "| lift | share of people | runs | promoted | taken back | undecided | median days | traffic seen | at most |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in record["cases"]:
        cells = [f"{case['lift']:+.2f}", f"{case['share']:.0%}", f"{case['runs']:,}"]
        cells += [f"{case[end]:.1%}" for end in ("promote", "rollback", "undecided")]
        cells += [f"{case['median_days']:.2f}", f"{case['median_seen']:.1%}", f"{case['largest_seen']:.1%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
