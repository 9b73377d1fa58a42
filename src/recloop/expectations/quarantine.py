"""The parting of a table into rows that stay and rows that are kept aside with the reason."""

from collections.abc import Sequence

import polars as pl

from recloop.expectations.rule import Rule

SCHEMA = {"table": pl.String, "reason": pl.String, "row": pl.String}


def broken_rows(frame: pl.DataFrame, rules: Sequence[Rule]) -> list[pl.Series | None]:
    """For each rule, which rows of `frame` break it: boolean (rows,), or nothing for a rule about the whole table."""
    masks = frame.select(
        rule.bad.fill_null(value=False).alias(str(index)) for index, rule in enumerate(rules) if rule.bad is not None
    )
    return [masks[str(index)] if str(index) in masks.columns else None for index in range(len(rules))]


def part(
    table: str, frame: pl.DataFrame, rules: Sequence[Rule], broken: Sequence[pl.Series | None]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of `frame` that break no quarantining rule, and the others.

    A row that breaks several rules is kept aside once, for the first of them. Order is kept.

    Returns:
        the clean rows, and the others as `table`, `reason` and `row`, that row's cells in JSON, where NaN and infinity
        are null, as JSON knows neither.
    """
    reason = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, frame.height)
    for rule, mask in reversed([pair for pair in zip(rules, broken, strict=True) if pair[0].quarantine]):
        assert mask is not None, f"rule {rule.name} quarantines without saying which rows"
        reason = pl.select(pl.when(mask).then(pl.lit(rule.name)).otherwise(reason).alias("reason")).to_series()
    kept = reason.is_null()
    if kept.all():
        return frame, pl.DataFrame(schema=SCHEMA)
    aside = frame.filter(~kept)
    named = pl.DataFrame({"reason": reason.filter(~kept), "row": as_json(aside)})
    return frame.filter(kept), named.select(pl.lit(table).alias("table"), "reason", "row")


def as_json(frame: pl.DataFrame) -> pl.Series:
    """Each row of `frame` as JSON text (rows,): times in ISO 8601, bytes in base 64."""
    text = frame.with_columns(pl.col(pl.Binary).bin.encode("base64")) if pl.Binary in frame.dtypes else frame
    return text.select(pl.struct(pl.all()).struct.json_encode()).to_series()
