"""Off-policy evaluation where the answer is known: the Open Bandit Dataset, small, women's campaign.

    python -m benchmarks.open_bandit

Ten thousand impressions were logged by a policy that draws one of 46 items uniformly, and ten thousand by Bernoulli
Thompson sampling, in the same week on the same pages. The value of Thompson sampling is estimated from the uniform log
and set beside the click rate that Thompson sampling had itself; and the other way round.

Thompson sampling knows no context, so a row needs its probability of the row's item at the row's position. The log has
that of its own choices alone, and it moves as the sampler learns; what is used is the share of each item at each
position in the Thompson log, which is its average over the week. So it is assumed that the worth of an item at a
position does not change with the hour in step with the sampler. The shares come from the other log, so no row informs
its own weight; that they are estimated themselves is not in the intervals. For the other direction the log's own
propensities are used.

Results go to `benchmarks/open_bandit.json`, from which `benchmarks/OPEN_BANDIT.md` is written.
"""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from benchmarks.published.protocols import ROOT, source
from recloop.evaluation.off_policy import (
    Estimate,
    Log,
    OffPolicyConfig,
    OverlapError,
    clipped_ips,
    cross_fitted_means,
    doubly_robust,
    ips,
    snips,
)
from recloop.evaluation.significance import bootstrap_mean

RESULTS = ROOT / "benchmarks" / "open_bandit.json"
TABLE = ROOT / "benchmarks" / "OPEN_BANDIT.md"
CONFIG = OffPolicyConfig()
Outcome = dict[str, Any]


def main() -> None:
    """Estimate, and write both files."""
    uniform, thompson = (read(name) for name in ("random_women", "bts_women"))
    record = {
        "thompson from the uniform log": outcome(uniform, shares(thompson), thompson),
        "uniform from the Thompson log": outcome(thompson, shares(uniform), uniform),
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(table(record), encoding="utf-8")
    print(table(record))


def read(name: str) -> pl.DataFrame:
    """A log: item, position, click and propensity, numbers from 0."""
    frame = pl.read_parquet(source(f"open-bandit/{name}.parquet"))
    return frame.select(pl.col("item_id"), pl.col("position") - 1, pl.col("click"), pl.col("propensity_score"))


def shares(log: pl.DataFrame) -> pl.DataFrame:
    """The share of each item at each position."""
    counts = log.group_by("position", "item_id").len()
    return counts.select("position", "item_id", (pl.col("len") / pl.col("len").sum().over("position")).alias("target"))


def outcome(log: pl.DataFrame, target: pl.DataFrame, own: pl.DataFrame) -> Outcome:
    """Every estimate of the target's click rate from `log`, or why there is none; and the rate that it had itself."""
    clicks = own["click"].to_numpy().astype(float)
    truth = bootstrap_mean(clicks, seed=0)
    estimates: dict[str, Any] = {}
    for name, found in _estimates(log, target).items():
        estimates[name] = found if isinstance(found, str) else asdict(found)
    return {"estimates": estimates, "truth": {"value": truth.mean, "interval": [truth.low, truth.high]}}


def _estimates(log: pl.DataFrame, target: pl.DataFrame) -> dict[str, Estimate | str]:
    joined = log.join(target, on=["position", "item_id"], how="left", maintain_order="left")
    rewards = joined["click"].to_numpy().astype(float)
    rows = Log(
        rewards=rewards,
        propensities=joined["propensity_score"].to_numpy(),
        targets=joined["target"].fill_null(0).to_numpy(),
    )
    n_items, n_positions = (int(log[column].to_numpy().max()) + 1 for column in ("item_id", "position"))
    chances = np.zeros((n_positions, n_items))
    chances[target["position"], target["item_id"]] = target["target"]
    action = joined["position"].to_numpy() * n_items + joined["item_id"].to_numpy()
    over = np.zeros((log.height, n_positions * n_items))
    places = joined["position"].to_numpy()
    for position in range(n_positions):
        here = places == position
        over[here, position * n_items : (position + 1) * n_items] = chances[position]
    predicted, expected = cross_fitted_means(action, rewards, over)
    kinds = {
        "ips": lambda: ips(rows, CONFIG),
        "clipped_ips": lambda: clipped_ips(rows, CONFIG),
        "snips": lambda: snips(rows, CONFIG),
        "doubly_robust": lambda: doubly_robust(rows, predicted, expected, CONFIG),
    }
    found: dict[str, Estimate | str] = {}
    for name, estimate in kinds.items():
        try:
            found[name] = estimate()
        except OverlapError as error:
            found[name] = str(error)
    return found


def table(record: dict[str, Outcome]) -> str:
    """OPEN_BANDIT.md."""
    lines = [
        "# Off-policy estimates on the Open Bandit Dataset",
        "",
        "Written by `python -m benchmarks.open_bandit`, which says how it is measured. Click rates in percent, with",
        "95% intervals.",
    ]
    for name, found in record.items():
        truth = found["truth"]
        lines += ["", f"## {name[0].upper()}{name[1:]}", ""]
        lines += [f"Its own click rate: {_percent(truth['value'], truth['interval'])}.", ""]
        lines += [
            "| estimator | estimate | covers its own rate | effective rows | largest weight | mean weight |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for estimator, one in found["estimates"].items():
            if isinstance(one, str):
                lines.append(f"| {estimator} | refused: {one} | | | | |")
                continue
            low, high = one["interval"]
            seen = one["diagnostics"]
            covers = "yes" if low <= truth["value"] <= high else "no"
            cells = [estimator, _percent(one["value"], one["interval"]), covers, f"{seen['effective']:,.0f}"]
            cells += [f"{seen['largest']:.1f}", f"{seen['mean']:.3f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _percent(value: float, interval: list[float]) -> str:
    return f"{100 * value:.2f} ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


if __name__ == "__main__":
    main()
