"""How often a year the drift checks raise an alarm while no taste moves.

    python -m benchmarks.drift_alarms

Worlds of the source `synthetic` in which people come for two years. A quarter of the items appears in the second half
of the time, which is the year that is looked at, so the catalogue grows all the while. In some worlds people may take
an item again, so that nothing else changes; in others they never do, and use up what they like most. A champion, `als`,
is trained as by default, on the older 80% of what has happened, at the beginning of that year and every RETRAINED days
after; every night the checks compare, with the default parameters, what it was trained on with all that came later. So
nothing is tuned to these worlds. In a few of them the first champion stays in charge all year, for comparison.

An *alarm* is what the monitor would act on: some check has drifted in `drift_looks` looks in a row at the same
champion. Nights in a row are one alarm, and a new champion ends it. Here nobody retrains because of one: the loop
would, and would look at another champion from then on.

Writes `benchmarks/drift_alarms.json` and `benchmarks/DRIFT_ALARMS.md`.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, cast

import polars as pl
import torch

from recloop.columns import TIME
from recloop.data.splits import SplitConfig, split
from recloop.data.tables import canonical_interactions
from recloop.drift.config import DriftConfig
from recloop.drift.detect import Drift, detect
from recloop.drift.held_out import HeldOut
from recloop.drift.windows import cut
from recloop.evaluation.contenders import fit
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World

FOLDER = Path("benchmarks")
WORLDS, FIXED, NIGHTS, RETRAINED, MODEL = 6, 2, 365, 30, "als"
ANY = "any"
LOOKS = (1, 2)
START = datetime(2024, 1, 1, tzinfo=UTC)
WORLD: dict[str, Any] = {
    "users": 300,
    "items": 400,
    "days": 2 * NIGHTS,
    "sessions": 8,
    "cold_items": 0.25,
}


def main() -> None:
    """Live through all worlds and write both files."""
    parser = argparse.ArgumentParser(description="False alarms a year.")
    parser.add_argument("--worlds", type=int, default=WORLDS)
    parser.add_argument("--fixed", type=int, default=FIXED, help="worlds whose first champion stays in charge")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun, rows = time.process_time(), list[dict[str, Any]]()
    for retrained, worlds in ((RETRAINED, asked.worlds), (None, asked.fixed)):
        for repeats, seed in product((True, False), range(worlds)):
            rows.append(live(seed, retrained, repeats=repeats))
            print(rows[-1], f"{time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    report = {"nights": NIGHTS, "model": MODEL, "world": WORLD, "years": rows}
    (FOLDER / "drift_alarms.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (FOLDER / "DRIFT_ALARMS.md").write_text(page(rows), encoding="utf-8")


def live(seed: int, retrained: int | None, nights: int = NIGHTS, *, repeats: bool, **changes: Any) -> dict[str, Any]:
    """One year: its looks and those that could not tell, and by check the nights that drifted and the alarms."""
    looks = list(nightly(world(seed, repeats=repeats, **changes), retrained, nights))
    told = [(champion, found) for champion, found in looks if found.verdict != "insufficient"]
    runs = lasting([(champion, {check.name for check in found.checks if check.drifted}) for champion, found in told])
    return {
        "seed": seed,
        "repeats": repeats,
        "retrained": retrained,
        "looks": len(looks),
        "insufficient": len(looks) - len(told),
        "checked": dict(Counter(check.name for _, found in told for check in found.checks)),
        "drifted": dict(Counter(name for _, run in runs for name in (*run, *([ANY] if run else [])))),
        "alarms": {str(least): alarms(runs, least) for least in LOOKS},
    }


def world(seed: int, **changes: Any) -> pl.DataFrame:
    """What happens in a world, as canonical interactions."""
    context = SourceContext(root=Path(), data=Path(), cache=Path(), progress=lambda steps, _: steps)
    config = Config(seed=seed, start=START, **WORLD | changes)
    return canonical_interactions(World(config).interactions(context), "synthetic")


def nightly(events: pl.DataFrame, retrained: int | None, nights: int) -> Iterator[tuple[int, Drift]]:
    """The number of the champion in charge and what the checks say, night by night through the newest nights."""
    config = DriftConfig()
    newest = cast("datetime", events[TIME].max())
    champion, in_charge = -1, None
    for night in range(nights):
        now = newest - timedelta(days=nights - 1 - night)
        known = events.filter(pl.col(TIME) <= now)
        if in_charge is None or (retrained is not None and night % retrained == 0):
            training = split(known, SplitConfig()).train
            model = fit(MODEL, None, training, device=torch.device("cpu"))
            champion, in_charge = champion + 1, (model, _window(training))
        model, window = in_charge
        reference, current = cut(known, window, config.window_days)
        held_out = HeldOut(interactions=known, learned_until=window[1])
        yield champion, detect(reference, current, config, model, held_out)


Runs = Sequence[tuple[int, dict[str, int]]]
"""For each look the champion, and in how many looks in a row at it each check that drifted has done so."""


def lasting(looks: Sequence[tuple[int, set[str]]]) -> Runs:
    """`Runs` of looks: the champion and the checks that drifted."""
    runs = list[tuple[int, dict[str, int]]]()
    for champion, drifted in looks:
        before = runs[-1][1] if runs and runs[-1][0] == champion else {}
        runs.append((champion, {name: before.get(name, 0) + 1 for name in sorted(drifted)}))
    return runs


def alarms(runs: Runs, least: int) -> dict[str, int]:
    """How often each check, and `ANY` of them, begins to be one that has drifted in at least `least` looks in a row."""
    counts, before = Counter[str](), (-1, set[str]())
    for champion, run in runs:
        now = {name for name, length in run.items() if length >= least}
        now |= {ANY} if now else set()
        counts.update(now - (before[1] if before[0] == champion else set()))
        before = champion, now
    return dict(counts)


def _window(events: pl.DataFrame) -> tuple[datetime, datetime]:
    return cast("tuple[datetime, datetime]", (events[TIME].min(), events[TIME].max()))


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown page of a report's rows."""
    lines = [
        "# False alarms of the drift checks",
        "",
        "`python -m benchmarks.drift_alarms`: a look every night for a year in worlds where no taste moves, with the",
        f"default parameters and `{MODEL}` in charge. {WORLD['users']} people, {WORLD['items']} items, of which",
        f"{WORLD['cold_items']:.0%} appear during the year; what a world does besides is said in the module. An alarm",
        "is a check that has drifted in `drift_looks` looks in a row; nights in a row are one alarm.",
        "",
        "| champion | an item | years | too few events | nights with drift | alarms a year, `drift_looks` 1 | 2 |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for retrained, repeats in product((RETRAINED, None), (True, False)):
        years = [row for row in rows if (row["retrained"], row["repeats"]) == (retrained, repeats)]
        if years:
            lines.append(_line(years, retrained, repeats=repeats))
    names = sorted({name for row in rows for name in row["checked"]})
    lines += [
        "",
        "By check, over the years with a champion trained anew: on how many nights it had something to compare, on how",
        "many it drifted, and its alarms a year.",
        "",
        "| check | nights | drifted | alarms a year, `drift_looks` 1 | 2 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    years = [row for row in rows if row["retrained"] is not None]
    for name in names:
        checked, drifted = (sum(row[key].get(name, 0) for row in years) for key in ("checked", "drifted"))
        each = [sum(row["alarms"][str(least)].get(name, 0) for row in years) / len(years) for least in LOOKS]
        lines.append(f"| `{name}` | {checked} | {drifted} | {each[0]:.2f} | {each[1]:.2f} |")
    return "\n".join(lines) + "\n"


def _line(years: Sequence[dict[str, Any]], retrained: int | None, *, repeats: bool) -> str:
    champion = "the same all year" if retrained is None else f"trained anew every {retrained} days"
    item = "may be taken again" if repeats else "is taken once"
    silent, drifted = sum(row["insufficient"] for row in years), sum(row["drifted"].get(ANY, 0) for row in years)
    counts = [[row["alarms"][str(least)].get(ANY, 0) for row in years] for least in LOOKS]
    each = [f"{sum(found) / len(found):.1f} (from {min(found)} to {max(found)})" for found in counts]
    nights = sum(row["looks"] for row in years)
    return f"| {champion} | {item} | {len(years)} | {silent} | {drifted} of {nights - silent} | {each[0]} | {each[1]} |"


if __name__ == "__main__":
    main()
