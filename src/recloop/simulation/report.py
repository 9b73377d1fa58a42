"""What came of a simulation: figures, and one HTML page with plots that needs nothing else.

Rewards of a day are means over its visits; intervals take people as units. The *oracle* is the best possible slate at
every visit; the *oracle-retrained* model is the best of `hindsight.Hindsight` on that day.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from recloop.columns import USER
from recloop.data.tables import read_json, read_parquet, write_json
from recloop.evaluation.significance import bootstrap_mean, paired_bootstrap
from recloop.simulation.days import HINDSIGHT, NIGHTS, VISITS

RECOVERY_DAYS = 4
"""Whole days after the shift at whose end the loop should have recovered."""
NAMES = {"closed": "the loop decides", "daily": "retrained every night", "never": "never retrained"}
_SEED = 0


def write(out: Path, regimes: Sequence[str], *, shift: int | None) -> dict[str, Any]:
    """Write `report.json` and `report.html`.

    Args:
        out: the simulation's folder.
        regimes: those that were lived to their end.
        shift: the day at whose beginning tastes moved, counted from 0.
    """
    visits = {regime: _judged(read_parquet(out / regime / VISITS)) for regime in regimes}
    nights = {regime: read_json(out / regime / NIGHTS)["nights"] for regime in regimes}
    known = "closed" in regimes and (out / "closed" / HINDSIGHT).is_file()
    hindsight = read_json(out / "closed" / HINDSIGHT)["days"] if known else None
    found: dict[str, Any] = {
        "days": {regime: _by_day(frame) for regime, frame in visits.items()},
        "nights": nights,
        "means": {regime: _mean(frame) for regime, frame in visits.items()},
        "against": _against(visits),
    }
    if hindsight is not None:
        found["oracle"] = _by_day(visits["closed"].with_columns(pl.col("best").alias("reward")))
        found["oracle_retrained"] = [max(day.items(), key=lambda item: item[1]) for day in hindsight]
    if "closed" in nights:
        found["loop"] = _loop(nights["closed"], shift)
    if shift is not None and hindsight is not None:
        found["recovery"] = _recovery(found, visits, shift)
    write_json(found, out / "report.json")
    (out / "report.html").write_text(_page(found, shift), encoding="utf-8")
    return found


def _judged(visits: pl.DataFrame) -> pl.DataFrame:
    return visits.filter(pl.col("reward").is_not_nan())


def _by_day(visits: pl.DataFrame) -> list[dict[str, Any]]:
    """Of each day: visits, mean reward and its 95% interval."""
    rows: list[dict[str, Any]] = []
    for (day,), frame in visits.group_by("day", maintain_order=True):
        rows.append({"day": day, "visits": frame.height} | _mean(frame))
    return rows


def _mean(visits: pl.DataFrame) -> dict[str, Any]:
    """The mean over people of their mean rewards would weigh rare visitors too much: it is the mean over visits."""
    sums = visits.group_by(USER, maintain_order=True).agg(pl.col("reward").sum(), pl.len().alias("n"))
    total, n = sums["reward"].to_numpy(), sums["n"].to_numpy()
    mean = float(total.sum() / n.sum())
    spread = bootstrap_mean((total - mean * n) / n.mean(), seed=_SEED)
    return {"reward": mean, "low": mean + spread.low, "high": mean + spread.high}


def _against(visits: dict[str, pl.DataFrame]) -> dict[str, Any]:
    """The loop less each other regime, visit by visit, for the same people."""
    if "closed" not in visits:
        return {}
    found: dict[str, Any] = {}
    ours = _per_person(visits["closed"])
    for regime in visits.keys() - {"closed"}:
        both = ours.join(_per_person(visits[regime]), on=USER, suffix="_other")
        difference = paired_bootstrap(both["reward"].to_numpy(), both["reward_other"].to_numpy(), seed=_SEED)
        found[regime] = {
            "people": both.height,
            "difference": difference.mean,
            "low": difference.low,
            "high": difference.high,
        }
    return found


def _per_person(visits: pl.DataFrame) -> pl.DataFrame:
    return visits.group_by(USER).agg(pl.col("reward").mean()).sort(USER)


def _loop(nights: list[dict[str, Any]], shift: int | None) -> dict[str, Any]:
    """When drift was noticed, and how often the loop retrained while nothing had moved and since."""
    looked = [night for night in nights if night["verdict"]]
    before = [night for night in looked if shift is None or night["day"] < shift]
    after = [night for night in looked if shift is not None and night["day"] >= shift]
    noticed = next((night["day"] for night in after if night["verdict"] == "retrain"), None)
    return {
        "retrained_before": [night["day"] for night in before if night["retrained"]],
        "retrained_after": [night["day"] for night in after if night["retrained"]],
        "noticed": noticed,
        "noticed_after_days": None if noticed is None or shift is None else noticed - shift + 1,
    }


def _recovery(found: dict[str, Any], visits: dict[str, pl.DataFrame], shift: int) -> dict[str, Any]:
    """Rewards of the regimes as shares of the oracle-retrained model's, `RECOVERY_DAYS` after the shift and later."""
    day = shift + RECOVERY_DAYS
    bound = np.array([reward for _, reward in found["oracle_retrained"]])
    if day >= len(bound):
        return {}
    return {
        "day": day,
        "oracle_retrained": found["oracle_retrained"][day],
        "shares": {regime: found["days"][regime][day]["reward"] / bound[day] for regime in visits},
        "shares_from_then_on": {
            regime: float(np.mean([row["reward"] for row in found["days"][regime][day:]]) / bound[day:].mean())
            for regime in visits
        },
    }


def _page(found: dict[str, Any], shift: int | None) -> str:
    figure = go.Figure()
    for regime, rows in found["days"].items():
        _line(figure, NAMES[regime], [row["reward"] for row in rows], rows)
    if "oracle" in found:
        _line(figure, "the best possible slate", [row["reward"] for row in found["oracle"]], None, dash="dot")
        rewards = [reward for _, reward in found["oracle_retrained"]]
        _line(figure, "oracle-retrained", rewards, None, dash="dash")
    if shift is not None:
        figure.add_vline(x=shift - 0.5, line_dash="dot", annotation_text="tastes move")
    for night in found["nights"].get("closed", []):
        if night["retrained"] and night["day"] >= 0:
            figure.add_vline(x=night["day"] + 0.5, line_color="lightgrey")
    figure.update_layout(
        title="Reward a slate, by day; the loop retrained in the grey nights",
        xaxis_title="day",
        yaxis_title="mean reward",
        template="plotly_white",
    )
    plot = figure.to_html(full_html=False, include_plotlyjs=True)
    return _PAGE.format(plot=plot, facts=_facts(found, shift), nights=_nights(found["nights"].get("closed", [])))


def _line(
    figure: go.Figure, name: str, rewards: list[float], rows: list[dict[str, Any]] | None, dash: str = "solid"
) -> None:
    error = None
    if rows is not None:
        high = [row["high"] - row["reward"] for row in rows]
        low = [row["reward"] - row["low"] for row in rows]
        error = {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 1, "width": 2}
    x = list(range(len(rewards))) if rows is None else [row["day"] for row in rows]
    figure.add_trace(go.Scatter(x=x, y=rewards, name=name, error_y=error, line={"dash": dash}, mode="lines+markers"))


def _facts(found: dict[str, Any], shift: int | None) -> str:
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(found, shift))


def sentences(found: dict[str, Any], shift: int | None) -> list[str]:
    """What the report says, a sentence a fact."""
    said = [
        f"Mean reward a slate, {NAMES[regime]}: {mean['reward']:.4f} (95% interval {mean['low']:.4f} to "
        f"{mean['high']:.4f})."
        for regime, mean in found["means"].items()
    ]
    said += [
        f"The loop less '{NAMES[regime]}', for the same {row['people']:,} people: {row['difference']:+.4f} "
        f"({row['low']:+.4f} to {row['high']:+.4f})."
        for regime, row in sorted(found["against"].items())
    ]
    loop = found.get("loop")
    if loop and shift is not None:
        said.append(f"Tastes moved on day {shift}. Retrainings before: {len(loop['retrained_before'])}.")
        day, age = loop["noticed"], loop["noticed_after_days"]
        noticed = f"It was noticed in the night after day {day}, the new tastes' day {age}."
        said.append("It was not noticed." if day is None else noticed)
    if loop:
        said.append(
            f"Nights in which the loop retrained: {len(loop['retrained_before']) + len(loop['retrained_after'])}."
        )
    if recovery := found.get("recovery"):
        name, reward = recovery["oracle_retrained"]
        said.append(f"On day {recovery['day']} the oracle-retrained model ({name}) earned {reward:.4f}.")
        said += [
            f"{NAMES[regime].capitalize()}: {share:.1%} of that; from then on {later:.1%}."
            for (regime, share), later in zip(
                recovery["shares"].items(), recovery["shares_from_then_on"].values(), strict=True
            )
        ]
    return said


def _nights(nights: list[dict[str, Any]]) -> str:
    rows = [
        f"<tr><td>{night['day']}</td><td>{escape(night['verdict'] or '')}</td>"
        f"<td>{escape(', '.join(night['drifted']))}</td><td>{escape(' '.join(night['reasons']))}</td>"
        f"<td>{escape(night['retrained'] or '')}</td><td>{escape(night['model'])}</td></tr>"
        for night in nights
    ]
    return "".join(rows)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Simulation of the loop</title><style>
body {{ font-family: sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} td, th {{ border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left;
vertical-align: top; }}
</style></head><body>
<h1>Simulation of the loop</h1>
{plot}
<ul>{facts}</ul>
<h2>What the loop decided, night by night</h2>
<table><thead><tr><th>after day</th><th>verdict</th><th>drifted</th><th>reasons</th><th>retraining</th>
<th>in charge then</th></tr></thead><tbody>{nights}</tbody></table>
</body></html>
"""
