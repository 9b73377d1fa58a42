"""What the drift checks find: tastes that move, a model that is broken, data that are.

    python -m benchmarks.drift_finds

Worlds of the source `synthetic`, 120 days each, with its default parameters but for the items that appear late: there
are none, except in one row, where they are a tenth, as by default. A champion, `als`, is trained on the first 60% of
the time, so that there is a time right after its training in which nothing has changed yet. In the newest 20%, which
are `window_days`, one thing is different, and the checks compare that window with the training window; their other
parameters are the defaults. All other rows of a world have the same champion, people, sessions and chance.

Writes `benchmarks/drift_finds.json` and `benchmarks/DRIFT_FINDS.md`.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch

from recloop.columns import ITEM, TIME
from recloop.data.tables import canonical_interactions
from recloop.data.vocabulary import Vocabulary
from recloop.drift.config import DriftConfig
from recloop.drift.detect import Drift, detect
from recloop.drift.held_out import HeldOut
from recloop.drift.windows import cut
from recloop.evaluation.contenders import fit
from recloop.models.base import Model
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World

FOLDER = Path("benchmarks")
WORLDS, DAYS, MODEL = 100, 120, "als"
LEARNED, CHANGED = 0.6, 0.8
START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = {
    "still": "nothing",
    "late": "a tenth of the items appears in the second half of the time",
    "moved": "tastes move",
    "half": "tastes move half as far",
    "vectors": "nothing but the model, whose items have each other's vectors from the beginning",
    "ids": "items have each other's ids in the newest window",
    "source": "events on half of the categories no longer arrive",
}
"""What is different in each row."""


def main() -> None:
    """Look at all worlds and write both files."""
    parser = argparse.ArgumentParser(description="What the drift checks find.")
    parser.add_argument("--worlds", type=int, default=WORLDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun, rows = time.process_time(), list[dict[str, Any]]()
    for seed in range(asked.worlds):
        rows += [
            {"seed": seed, "row": row, "drifted": [check.name for check in found.checks if check.drifted]}
            for row, found in looks(seed)
        ]
        print(seed, f"{time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    (FOLDER / "drift_finds.json").write_text(json.dumps({"model": MODEL, "looks": rows}) + "\n", encoding="utf-8")
    (FOLDER / "DRIFT_FINDS.md").write_text(page(rows), encoding="utf-8")


def looks(seed: int, **changes: Any) -> Iterator[tuple[str, Drift]]:
    """What the checks say of each of `ROWS` in one world."""
    world, still = _world(seed, cold_items=0, **changes)
    _, late = _world(seed, **changes)
    learned, changed = (START + timedelta(days=share * DAYS) for share in (LEARNED, CHANGED))
    model, items = _trained(still, learned)
    rng = np.random.default_rng([seed, 1])
    new = pl.col(TIME) >= changed
    kept = pl.Series(world.item_ids).filter(pl.Series(world.category % 2 == 0))
    events = {
        "still": still,
        "late": late,
        "moved": _world(seed, cold_items=0, drift_at=CHANGED, **changes)[1],
        "half": _world(seed, cold_items=0, drift_at=CHANGED, drift_strength=0.5, **changes)[1],
        "vectors": still,
        "ids": still.with_columns(
            pl.when(new)
            .then(pl.col(ITEM).replace_strict(world.item_ids, rng.permutation(world.item_ids).tolist()))
            .otherwise(pl.col(ITEM))
            .alias(ITEM)
        ),
        "source": still.filter(~new | pl.col(ITEM).is_in(kept.implode())),
    }
    for row, frame in events.items():
        asked = _mixed_up(model, items, rng) if row == "vectors" else model
        yield row, _look(frame, learned, _trained(late, learned) if row == "late" else (asked, items))


def _world(seed: int, **options: Any) -> tuple[World, pl.DataFrame]:
    context = SourceContext(root=Path(), data=Path(), cache=Path(), progress=lambda steps, _: steps)
    world = World(Config(seed=seed, start=START, days=DAYS, **options))
    return world, canonical_interactions(world.interactions(context), "synthetic")


def _trained(events: pl.DataFrame, learned: datetime) -> tuple[Model, Vocabulary]:
    return fit(MODEL, None, events.filter(pl.col(TIME) < learned), device=torch.device("cpu"))


def _mixed_up(model: Model, items: Vocabulary, rng: np.random.Generator) -> Model:
    """The same model with the rows of each tensor that has one an item in another order."""
    order = torch.from_numpy(rng.permutation(len(items)))
    broken = type(model)(model.config, len(items), torch.device("cpu"))
    broken.load_tensors(
        {name: tensor[order] if len(tensor) == len(items) else tensor for name, tensor in model.tensors().items()}
    )
    return broken


def _look(events: pl.DataFrame, learned: datetime, model: tuple[Model, Vocabulary]) -> Drift:
    times = events.filter(pl.col(TIME) < learned)[TIME]
    window = cast("tuple[datetime, datetime]", (times.min(), times.max()))
    config = DriftConfig(window_days=DAYS * (1 - CHANGED))
    held_out = HeldOut(interactions=events, learned_until=window[1])
    return detect(*cut(events, window, config.window_days), config, model, held_out)


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown page of a report's rows."""
    found = {key: [row for row in rows if row["row"] == key] for key in ROWS}
    worlds = len(found["still"])
    lines = [
        "# What the drift checks find",
        "",
        f"`python -m benchmarks.drift_finds`: {worlds} worlds, with `{MODEL}` in charge, trained on the first",
        f"{LEARNED:.0%} of the time. In the newest {1 - CHANGED:.0%} one thing is different. In how many worlds that",
        "is reported as drift, and by which checks; a check that is not named found it in none.",
        "",
        "| what is different | drift | checks |",
        "| --- | ---: | --- |",
    ]
    for key, what in ROWS.items():
        drifted = sum(bool(row["drifted"]) for row in found[key])
        each = Counter(name for row in found[key] for name in sorted(row["drifted"]))
        by = ", ".join(
            f"`{name}` {count}" for name, count in sorted(each.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        lines.append(f"| {what} | {drifted} | {by} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
