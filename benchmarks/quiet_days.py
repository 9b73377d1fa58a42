"""How often the loop retrains while nothing has changed: worlds whose tastes never move, looked at every night.

    python -m benchmarks.quiet_days

The worlds, their people, the drift checks, the click rates and the decision are those of `recloop simulate`, by the
same functions; slates come from the model in this process instead of a service, and no night retrains, so the champion
ages for the whole time. Writes `benchmarks/quiet_days.json` and `benchmarks/QUIET_DAYS.md`.
"""

import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch

from recloop.columns import EVENT_KEY, ITEM, POSITION, REQUEST, TIME, USER
from recloop.config import parse
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.drift.config import DriftConfig
from recloop.drift.detect import detect
from recloop.drift.held_out import HeldOut
from recloop.drift.windows import cut
from recloop.evaluation.contenders import fit
from recloop.loop.clicks import ACTED, SETTLED, SLATES, by_thirds
from recloop.loop.decision import ClickRates, Inputs, MonitorConfig, decide
from recloop.simulation.crowd import Visit, frame_of
from recloop.simulation.hindsight import Rival
from recloop.simulation.project import TASTES
from recloop.simulation.tastes import TasteConfig, TasteCrowd
from recloop.sources import SourceContext
from recloop.store import Event

FOLDER = Path("benchmarks")
SEEDS, DAYS, MODEL = 20, 10, "als"


def main() -> None:
    """Live through all worlds and write both files."""
    begun, rows = time.monotonic(), list[dict[str, Any]]()
    for seed in range(SEEDS):
        rows.append(live(seed, MODEL))
        print(rows[-1], f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    report = {"days": DAYS, "worlds": rows}
    (FOLDER / "quiet_days.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (FOLDER / "QUIET_DAYS.md").write_text(page(rows), encoding="utf-8")


def live(seed: int, name: str, **changes: Any) -> dict[str, Any]:
    """The nights of one world, with this model in charge, on which the loop would have retrained, and why."""
    config = TasteConfig(seed=seed, days=DAYS, shift=None, **changes)
    context = SourceContext(root=Path(), data=Path(), cache=Path(), progress=lambda steps, _: steps)
    crowd = TasteCrowd(config, context)
    events = crowd.past().interactions
    training = events  # the winner is trained once more on all of them (train.refit)
    model, catalogue = fit(name, TASTES["train"][name], training, device=torch.device("cpu"))
    rival = Rival(model, catalogue)
    histories: dict[str, list[tuple[str, int]]] = {}
    slates: list[pl.DataFrame] = []
    alarms: list[dict[str, Any]] = []
    prompted: list[pl.DataFrame] = []
    packaged = cast("datetime", events[TIME].max())
    drift_config = parse(DriftConfig, TASTES["drift"], "drift")
    rules = parse(MonitorConfig, TASTES["monitor"], "monitor")
    window = cast("tuple[datetime, datetime]", (training[TIME].min(), training[TIME].max()))
    _remember(histories, events)
    for day in range(DAYS):
        acts: list[Event] = []
        for visit in crowd.visits(day):
            own = crowd.unasked(day, visit.moment)
            acts += own
            _remember(histories, frame_of(own))
            user = int(visit.user_id[1:])
            shown = rival.slate(histories.get(visit.user_id, []), crowd.had[user], config.slate)
            answer = crowd.answer(visit, "", [crowd.world.item_ids[item] for item in shown])
            acts += answer.acts
            prompted.append(frame_of(answer.acts).select(EVENT_KEY))
            _remember(histories, frame_of(answer.acts))
            slates.append(_places(visit, [crowd.world.item_ids[item] for item in shown], answer.acts))
        late = crowd.unasked(day, crowd.begins(day + 1))
        _remember(histories, frame_of(late))
        events = pl.concat([events, frame_of([*acts, *late])]).sort(TIME, USER, ITEM)
        now = crowd.begins(day + 1) - 1
        held_out = HeldOut(
            interactions=events, learned_until=window[1], known_until=packaged, prompted=pl.concat(prompted)
        )
        drift = detect(*cut(events, window, drift_config.window_days), drift_config, (model, catalogue), held_out)
        looked = Inputs(
            new_events=events.height,
            watermark=0,
            drift=drift.verdict,
            drift_looks=int(drift.verdict == "drift"),
            unknown_share=_unknown(frame_of([*acts, *late]), catalogue),
            clicks=_clicks(slates, now),
        )
        outcome = decide(looked, rules, now=now)
        if outcome.verdict == "retrain":
            drifted = [check.name for check in drift.checks if check.drifted]
            alarms.append({"day": day, "triggers": [t.name for t in outcome.triggers if t.fires], "checks": drifted})
    return {"seed": seed, "model": name, "alarms": alarms}


def _unknown(events: pl.DataFrame, catalogue: Vocabulary) -> float:
    return float(np.mean(catalogue.encode(events[ITEM]) == UNKNOWN))


def _clicks(slates: list[pl.DataFrame], now: int) -> ClickRates | None:
    """What `click_rates` finds in the store."""
    places = pl.concat(slates[-SLATES:])
    return by_thirds(places.filter(pl.col(TIME) <= now - SETTLED))


def _places(visit: Visit, items: list[str], acts: Sequence[Event]) -> pl.DataFrame:
    acted = {act.item_id for act in acts}
    return pl.DataFrame(
        {
            REQUEST: str(visit.number),
            USER: visit.user_id,
            TIME: visit.moment,
            POSITION: range(len(items)),
            ACTED: [item in acted for item in items],
        }
    )


def _remember(histories: dict[str, list[tuple[str, int]]], events: pl.DataFrame) -> None:
    for user, item, moment in events.select(USER, ITEM, pl.col(TIME).cast(pl.Int64)).iter_rows():
        histories.setdefault(user, []).append((item, moment))


def page(rows: list[dict[str, Any]]) -> str:
    """The Markdown page of a report's rows."""
    nights = sum(len(row["alarms"]) for row in rows)
    worlds = sum(bool(row["alarms"]) for row in rows)
    lines = [
        "# Quiet days",
        "",
        f"`python -m benchmarks.quiet_days`: {SEEDS} worlds of `recloop simulate` whose tastes never move, {DAYS} days",
        f"each, with `{MODEL}` in charge for the whole time. On {nights} of {len(rows) * DAYS} nights,",
        f"in {worlds} of the worlds, the loop would have retrained though no taste had moved.",
        "",
        "Not everything stands still there: a twentieth of the items appears late, and people use up",
        "what they like most.",
        "",
        "| world | night after day | because of | drift checks |",
        "| ---: | ---: | --- | --- |",
    ]
    for row in rows:
        for alarm in row["alarms"]:
            why, checks = ", ".join(alarm["triggers"]), ", ".join(alarm["checks"])
            lines.append(f"| {row['seed']} | {alarm['day']} | {why} | {checks} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
