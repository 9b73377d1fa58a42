"""The loop on trial: worlds whose tastes move on day 10 of 20, lived through by the running service and flows.

    python -m benchmarks.simulation --worlds FOLDER [--replay FOLDER] [--seeds 1 2 3] [--regimes closed never]

Each world is `recloop simulate --seed SEED`, in a folder of its own in FOLDER; those that were lived already are read,
so it can be stopped and called again. `--replay` reads a folder of `recloop simulate --replay`. Writes
`benchmarks/simulation.json` and `benchmarks/SIMULATION.md`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recloop.data.tables import read_json
from recloop.simulation.report import RECOVERY_DAYS
from recloop.simulation.run import simulate
from recloop.simulation.tastes import TasteConfig

FOLDER = Path("benchmarks")
REPORT, PAGE = FOLDER / "simulation.json", FOLDER / "SIMULATION.md"


_COLUMNS = (
    "world",
    "retrained before tastes move",
    "noticed",
    "by",
    "the loop on day 14",
    "from day 14 on",
    "never retrained on day 14",
    "the loop less never retraining (95% interval)",
)


def main() -> None:
    """Live through the worlds that are missing, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=Path, required=True)
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--regimes", nargs="+", default=["closed", "never"])
    parser.add_argument("--remark", help="a sentence about how it was done, for the page")
    chosen = parser.parse_args()
    report: dict[str, Any] = {"worlds": [], "remark": chosen.remark}
    for seed in chosen.seeds:
        found = simulate(Path(), chosen.worlds / f"seed-{seed}", TasteConfig(seed=seed), regimes=chosen.regimes)
        report["worlds"].append(world(seed, found))
    if chosen.replay:
        report["replay"] = replay(read_json(chosen.replay / "report.json"))
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(report), encoding="utf-8")


def world(seed: int, found: dict[str, Any]) -> dict[str, Any]:
    """What the page says of one world, from its `report.json`."""
    shift = TasteConfig().shift
    assert shift is not None
    return {
        "seed": seed,
        "loop": found["loop"],
        "means": found["means"],
        "against": found["against"],
        "shares": {
            regime: [
                day["reward"] / best[1]
                for day, best in zip(found["days"][regime], found["oracle_retrained"], strict=True)
            ]
            for regime in found["means"]
        },
        "retrained": [name for name, _ in found["oracle_retrained"]],
        "in_charge": [night["model"] for night in found["nights"]["closed"]][:-1],
        "noticed_by": next(
            (night["drifted"] for night in found["nights"]["closed"] if night["day"] == found["loop"]["noticed"]), []
        ),
        "day": shift + RECOVERY_DAYS,
        "from_then_on": found["recovery"]["shares_from_then_on"],
    }


def replay(found: dict[str, Any]) -> dict[str, Any]:
    """The same of a replay."""
    return {
        "means": found["means"],
        "against": found["against"],
        "days": {regime: [day["reward"] for day in days] for regime, days in found["days"].items()},
        "visits": [day["visits"] for day in found["days"]["closed"]],
        "in_charge": [night["model"] for night in found["nights"]["closed"]][:-1],
        "retrained": found["loop"]["retrained_after"] + found["loop"]["retrained_before"],
    }


def page(report: dict[str, Any]) -> str:
    """The Markdown page of a report."""
    worlds = report["worlds"]
    seeds = " ".join(str(one["seed"]) for one in worlds)
    lines = [
        "# The loop on trial",
        "",
        f"`python -m benchmarks.simulation --worlds FOLDER --seeds {seeds}`",
        "([what is simulated](../docs/simulation.md)): 1,000 people, 1,000 items, 30 days of history, 20 days of about",
        "500 visits over HTTP, the project's Prefect flows every night. All tastes move when day 10 begins. Shares are",
        "of the reward of a model that is retrained every morning by somebody who knows when tastes have moved and",
        "which model is the best one that day.",
        *(["", remark] if (remark := report.get("remark")) else []),
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"| {' | '.join('---' for _ in _COLUMNS)} |",
        *(_row(one) for one in worlds),
        "",
        "## Day by day",
        "",
        "The share that the loop had on each day, and who was in charge.",
        "",
        f"| day | {' | '.join('world ' + str(one['seed']) for one in worlds)} |",
        f"| ---: | {' | '.join('---' for _ in worlds)} |",
    ]
    for day in range(len(worlds[0]["in_charge"])):
        cells = [f"{one['shares']['closed'][day]:.0%} `{one['in_charge'][day]}`" for one in worlds]
        lines.append(f"| {day} | {' | '.join(cells)} |")
    if "replay" in report:
        lines += _replay(report["replay"])
    return "\n".join(lines) + "\n"


def _row(one: dict[str, Any]) -> str:
    day, loop, shares = one["day"], one["loop"], one["shares"]
    noticed = "never" if loop["noticed"] is None else f"night {loop['noticed_after_days']}"
    never, against = shares.get("never"), one["against"].get("never")
    cells = [
        str(one["seed"]),
        str(len(loop["retrained_before"])),
        noticed,
        ", ".join(f"`{name}`" for name in one["noticed_by"]) or "clicks",
        f"{shares['closed'][day]:.1%}",
        f"{one['from_then_on']['closed']:.1%}",
        f"{never[day]:.1%}" if never else "",
        _interval(against) if against else "",
    ]
    return f"| {' | '.join(cells)} |"


def _replay(found: dict[str, Any]) -> list[str]:
    regimes: Sequence[str] = sorted(found["days"])
    lines = [
        "",
        "## A record that is lived through again",
        "",
        "`recloop simulate --replay --regime closed --regime never` on MovieLens-100K, with the parameters of the",
        "project: the newest 30% of the events in time order, a week a night. The reward is the NDCG@10 of the next",
        "item, of those that the person had not had. Nobody is",
        "influenced by what they are shown.",
        "",
        f"| week | visits | in charge | {' | '.join(regimes)} |",
        f"| ---: | ---: | --- | {' | '.join('---:' for _ in regimes)} |",
    ]
    for week, visits in enumerate(found["visits"]):
        cells = [f"{found['days'][regime][week]:.4f}" for regime in regimes]
        lines.append(f"| {week} | {visits:,} | `{found['in_charge'][week]}` | {' | '.join(cells)} |")
    means = [f"{found['means'][regime]['reward']:.4f}" for regime in regimes]
    lines += [f"| all | {sum(found['visits']):,} | | {' | '.join(means)} |", ""]
    for regime, against in found["against"].items():
        people = f"for the same {against['people']:,} people"
        lines.append(f"The loop less `{regime}`, {people}: {_interval(against)} (95% interval).")
    return lines


def _interval(found: dict[str, float]) -> str:
    return f"{found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


if __name__ == "__main__":
    main()
