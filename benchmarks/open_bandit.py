"""Off-policy estimates on real clicks: the value of Thompson sampling from the log of a random policy, and the reverse.

    python -m benchmarks.open_bandit

The small Open Bandit data set (Saito et al., NeurIPS 2021), women's campaign: one week in which a fashion shop showed
three of 46 items a page, some pages chosen uniformly at random, some by Bernoulli Thompson sampling. Of each, 10,000
impressions are given, one row each: item, position, click, and the true probability of that item at that position.

**Thompson sampling from the random log.** Its probabilities at the random log's rows are not in the data: it learnt as
it went (the logged probability of item 24 at the first position ranges from 0.0004 to 0.96 within the week), and the
state it was in is not given. As it does not look at people, what the data allow is its mean over time: the share of
each item at each position among the rows of its own log ("by position"), or among those of the same day ("by position
and day"). So the weights of the random log's rows come from the other log alone, and no row informs its own weight. Two
things follow. What is estimated is the value of these shares, which differs from the policy's own click rate as far as
the policy, within the week or the day, showed an item more just when it was clicked more. And the shares are themselves
counted from 10,000 rows; the page gives the standard error that this adds to the estimate, and the intervals do not
contain it.

The truth is the click rate of the Thompson log with its exact binomial (Clopper and Pearson) interval. People are not
identified in these data, so rows count as independent, and all intervals are too narrow if some people clicked often.
Each row is one position of a slate whose other positions are not given: the item-position estimator is then `ips`
itself, and `cascade` and `pseudo_inverse` do not apply. The reward model of `doubly_robust` is `mean_by_action` by
item.

**The random policy from the Thompson log.** Here all probabilities are exact: 1/46 and those logged.

Results go to `benchmarks/open_bandit.json`, from which `benchmarks/OPEN_BANDIT.md` is written.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.published.protocols import ROOT, source
from recloop.evaluation.off_policy import (
    Estimate,
    Log,
    OffPolicyConfig,
    RefusedError,
    clipped_ips,
    doubly_robust,
    ips,
    mean_by_action,
    snips,
)

RESULTS = ROOT / "benchmarks" / "open_bandit.json"
TABLE = ROOT / "benchmarks" / "OPEN_BANDIT.md"
GROUPS = {"by position": ["position"], "by position and day": ["position", "day"]}
CONFIG = OffPolicyConfig()
Floats = NDArray[np.float64]


def main() -> None:
    """Estimate both ways, and write results and page."""
    random, thompson = (read(source(f"open-bandit/{name}_women.parquet")) for name in ("random", "bts"))
    forward = {name: estimates(random, targets(thompson, random, keys), certain=True) for name, keys in GROUPS.items()}
    uniform = np.full((thompson.height, items(random)), 1 / items(random))
    record = {
        "items": items(random),
        "thompson": own_rate(thompson),
        "random": own_rate(random),
        "of thompson from random": forward,
        "policy_error": {name: policy_error(thompson, random, keys) for name, keys in GROUPS.items()},
        "of random from thompson": estimates(thompson, uniform, certain=False),
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    TABLE.write_text(table(record))
    print(TABLE.read_text())


def read(path: Path) -> pl.DataFrame:
    """`item`, `position`, `click`, `propensity` and `day` of each impression."""
    return pl.read_parquet(path).select(
        pl.col("item_id").alias("item"),
        "position",
        pl.col("click").cast(pl.Float64),
        pl.col("propensity_score").alias("propensity"),
        pl.col("timestamp").str.slice(0, 10).alias("day"),
    )


def items(log: pl.DataFrame) -> int:
    """How many items there are, numbered from 0; the random log shows all of them."""
    return int(log["item"].n_unique())


def targets(policy: pl.DataFrame, log: pl.DataFrame, keys: list[str]) -> Floats:
    """For each row of `log` the share of each item among the rows of `policy` with the same keys, (N, A)."""
    counts = policy.group_by(*keys, "item").len("shown")
    shares = counts.with_columns(share=pl.col("shown") / pl.col("shown").sum().over(keys))
    wide = shares.pivot("item", index=keys, values="share").fill_null(0)
    for item in range(items(log)):
        if str(item) not in wide.columns:
            wide = wide.with_columns(pl.lit(0.0).alias(str(item)))
    names = [str(item) for item in range(items(log))]
    return log.select(keys).join(wide, on=keys, how="left", maintain_order="left").select(names).to_numpy()


def estimates(log: pl.DataFrame, targets_NA: Floats, *, certain: bool) -> dict[str, Any]:  # noqa: N803 - shapes
    """Each estimator's estimate, or why it is refused; `certain` that the log can show every item."""
    item, clicks = log["item"].to_numpy(), log["click"].to_numpy()
    logged = Log(
        rewards=clicks,
        propensities=log["propensity"].to_numpy(),
        targets=targets_NA[np.arange(len(item)), item],
        missing=np.zeros(len(item)) if certain else None,
    )
    predicted = mean_by_action(clicks, item, targets_NA, seed=0)
    ways: dict[str, Callable[[], Estimate]] = {
        "ips": lambda: ips(logged, CONFIG),
        "clipped_ips": lambda: clipped_ips(logged, CONFIG),
        "snips": lambda: snips(logged, CONFIG),
        "doubly_robust": lambda: doubly_robust(logged, predicted, CONFIG),
    }
    return {name: _outcome(way) for name, way in ways.items()}


def _outcome(way: Callable[[], Estimate]) -> dict[str, Any]:
    try:
        found = way()
    except RefusedError as refusal:
        return {"refused": str(refusal)}
    return {
        "value": found.value,
        "interval": [found.low, found.high],
        "error": found.error,
        "effective": found.overlap.effective,
        "largest_weight": found.overlap.largest_weight,
        "mean_weight": list(found.overlap.mean_weight[:3]),
        "clipped": found.overlap.clipped,
    }


def own_rate(log: pl.DataFrame) -> dict[str, Any]:
    """Clicks among rows, their rate, and its exact interval."""
    clicks = int(log["click"].sum())
    low, high = binomtest(clicks, log.height).proportion_ci(CONFIG.level, method="exact")
    return {"clicks": clicks, "rows": log.height, "rate": clicks / log.height, "interval": [low, high]}


def policy_error(policy: pl.DataFrame, log: pl.DataFrame, keys: list[str]) -> float:
    """The standard error that counting the shares of `policy` adds: ``sqrt(sum_g s_g^2 Var_g(q) / n_g)``.

    Of group g of `keys`, s_g is its share of the rows of `log`, n_g its rows in `policy`, and Var_g(q) the variance
    over the policy's items of the click rate that the random log, shrunk as `mean_by_action` does, has for them.
    """
    rates = log.group_by("item").agg(pl.col("click").sum(), pl.len())
    rates = rates.select("item", rate=(pl.col("click") + 20 * log["click"].to_numpy().mean()) / (pl.col("len") + 20))
    spread = policy.join(rates, on="item").group_by(keys).agg(pl.col("rate").var(ddof=0), n=pl.len())
    shares = log.group_by(keys).agg(share=pl.len() / log.height)
    share, rate, rows = (spread.join(shares, on=keys)[name].to_numpy() for name in ("share", "rate", "n"))
    return float(np.sqrt((share**2 * rate / rows).sum()))


def table(record: dict[str, Any]) -> str:
    """OPEN_BANDIT.md."""
    thompson, random = record["thompson"], record["random"]
    columns = (
        "policy's probabilities", "estimator", "estimate", "interval", "covers its own rate", "effective rows",
        "largest weight", "mean weight (99.9% interval)",
    )  # fmt: skip
    lines = [
        "# Off-policy estimates on the Open Bandit data",
        "",
        "Written by `python -m benchmarks.open_bandit`, which says what is estimated and what is not known. Clicks per",
        f"thousand impressions, 95% intervals; women's campaign, {record['items']} items.",
        "",
        f"Thompson sampling's own click rate: {_own(thompson)}.",
        f"The random policy's: {_own(random)}.",
        "",
        "## Thompson sampling, from the random log",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]
    for name, by in record["of thompson from random"].items():
        for method, found in by.items():
            lines.append(f"| {name} | `{method}` | {_cells(found, thompson['rate'])} |")
    added = ", ".join(f"{_rate(error)} {name}" for name, error in record["policy_error"].items())
    lines += [
        "",
        f"Counting the policy's shares adds a standard error of {added}, which the intervals",
        "do not contain. As each row is one position, `ips` is the item-position estimator.",
        "",
        "## The random policy, from Thompson sampling's log",
        "",
        "| estimator | outcome |",
        "| --- | --- |",
    ]
    for method, found in record["of random from thompson"].items():
        lines.append(f"| `{method}` | {found.get('refused') or _cells(found, random['rate'])} |")
    return "\n".join([*lines, ""])


def _own(rate: dict[str, Any]) -> str:
    low, high = map(_rate, rate["interval"])
    return f"{_rate(rate['rate'])} ({low} to {high}), {rate['clicks']} clicks in {rate['rows']:,} impressions"


def _cells(found: dict[str, Any], truth: float) -> str:
    if "refused" in found:
        return f"refused: {found['refused']} | | | | |"
    low, high = found["interval"]
    mean, least, most = found["mean_weight"]
    return " | ".join(
        [
            _rate(found["value"]),
            f"{_rate(low)} to {_rate(high)}",
            "yes" if low <= truth <= high else "no",
            f"{found['effective']:,.0f}",
            f"{found['largest_weight']:.1f}",
            f"{mean:.3f} ({least:.3f} to {most:.3f})",
        ]
    )


def _rate(value: float) -> str:
    return f"{1000 * value:.2f}"


if __name__ == "__main__":
    main()
