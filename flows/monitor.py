"""Does the world differ from what the champion knows? A daily look at the newest feedback, with a recorded verdict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.states import Completed, Failed, State

from flows import terminal
from flows.ingest import FEEDBACK, take_in
from flows.project import exclusive
from flows.stages import run_stages
from recloop import clock
from recloop.columns import ITEM, TIME
from recloop.config import load_params, parse, section
from recloop.data.tables import read_json, read_parquet
from recloop.errors import RecloopError
from recloop.loop import drift_series
from recloop.loop.clicks import click_rates
from recloop.loop.decision import (
    MONITOR,
    Inputs,
    MonitorConfig,
    Outcome,
    age_days,
    decide,
    last_flight,
    owner,
)
from recloop.loop.deployments import BUNDLE, BUNDLES, POINTER
from recloop.models.storage import VOCABULARY
from recloop.sources import feedback, watermark
from recloop.store import Store

RETRAIN_EVENT = "recloop.monitor.retrain"
RESOURCE = {"prefect.resource.id": "recloop.monitor", "prefect.resource.name": "monitor"}
DRIFT = Path("artifacts/drift/drift.json")
SPLIT = Path("artifacts/split/split.json")
CLEAN = Path("artifacts/clean/interactions.parquet")
_LOOKED_AT = 100_000
"""Newest events whose items are looked up."""


@flow(name="monitor")
def monitor(*, retrain: bool = False) -> State:
    """Take in feedback, look at drift and clicks, decide whether to retrain, and record it.

    Feedback is taken in once a model has been trained. The rules stand in params.yaml: monitor; the verdict retrain
    starts the flow retrain.

    Args:
        retrain: Ask for retraining, whatever the rules say.
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            params = load_params()
            config = parse(MonitorConfig, section(params, "monitor"), "params.yaml: monitor")
            options = section(section(params, "ingest"), FEEDBACK)
            origin = parse(feedback.Config, options, f"params.yaml: ingest.{FEEDBACK}")
            if (working.root / BUNDLE).is_dir():
                take_in(working, FEEDBACK, log)
                run_stages(working, only=["validate"])
                run_stages(working, only=["drift"], force=is_about_another_model(working.root))
            record = look(working.root, config, origin, "A person" if retrain else None)
    except RecloopError as error:
        return Failed(message=str(error))
    if record["verdict"] == "retrain":
        emit_event(event=RETRAIN_EVENT, resource=RESOURCE, payload={"reasons": record["reasons"]})
    return Completed(message=f"{record['verdict']}: {' '.join(record['reasons'])}")


def is_about_another_model(root: Path) -> bool:
    """Whether the drift report is not about the champion that is in charge now.

    The champion is no dependency of the stage `drift`, so DVC does not run it again after a promotion or a rollback.
    """
    if not (root / POINTER).is_file():
        return False
    report = _report(root)
    return report is None or report.get("bundle") != read_json(root / POINTER)["bundle"]


@task(name="decide", task_run_name="decide")
def look(root: Path, config: MonitorConfig, origin: feedback.Config, asked_by: str | None = None) -> Mapping[str, Any]:
    """Read the store and the drift report, decide, and record it in the store and in the UI.

    Args:
        root: the project's folder.
        config: the rules.
        origin: where ingestion takes feedback from.
        asked_by: who asks for retraining, if anybody.
    """
    report = _report(root)
    drift = report["verdict"] if report else None
    with Store.open(origin.url, root=root) as events:
        new_events, watermark_, unknown = _new_events(root, events)
    with Store.open(root=root) as store:
        now = clock.now()
        champion = store.champion()
        found = Inputs(
            new_events=new_events,
            watermark=watermark_,
            drift=drift,
            drift_looks=drift_series.looks(store, report),
            age_days=age_days(store, now),
            unknown_share=unknown,
            clicks=click_rates(store, champion.bundle, now=now) if champion else None,
            asked_by=asked_by,
        )
        outcome = decide(found, config, now=now, flight=last_flight(store, owner(root), now=now))
        record = outcome.record() | {drift_series.KEY: drift_series.summary(report)}
        store.decide(MONITOR, outcome.verdict, record)
    get_run_logger().info("%s: %s", outcome.verdict, " ".join(outcome.reasons))
    create_markdown_artifact(page(outcome), key="monitor", description=f"{outcome.verdict}: {outcome.reasons[0]}")
    return record


def page(outcome: Outcome) -> str:
    """The verdict, its reasons, and every figure against its bound."""
    lines = [f"# {outcome.verdict}", *(f"- {reason}" for reason in outcome.reasons)]
    lines += ["", "| figure | found | fires at | fires |", "| --- | --- | --- | --- |"]
    for trigger in outcome.triggers:
        value = "unknown" if trigger.value is None else trigger.value
        shown = f"{value:.4g}" if isinstance(value, float) else value
        lines.append(f"| {trigger.name} | {shown} | {trigger.bound} | {'yes' if trigger.fires else 'no'} |")
    return "\n".join(lines)


def _new_events(root: Path, store: Store) -> tuple[int, int, float | None]:
    """How many events no training has seen, up to which `seq`, and their share on items that the champion lacks.

    They are the valid events of the data that were not there when they were last split, and the store's that the data
    do not hold yet.
    """
    data = root / "data"
    feedback.require_origin(store, data)
    unlearned = _unlearned(root)
    share = _unknown_share(root, min(unlearned, _LOOKED_AT))
    return unlearned + store.count_events(after=watermark(data, FEEDBACK)), store.last_event_seq(), share


def _unlearned(root: Path) -> int:
    """Valid events that came after the last split."""
    if not (root / SPLIT).is_file() or not (root / CLEAN).is_file():
        return 0
    summary = read_json(root / SPLIT)
    learned = sum(summary[f"{part}_rows"] for part in ("train", "valid", "test"))
    return max(0, pl.scan_parquet(root / CLEAN).select(pl.len()).collect().item() - learned)


def _unknown_share(root: Path, newest: int) -> float | None:
    """Of the newest valid events, the share on items that the champion lacks; `None` without events or a champion."""
    catalogue = _catalogue(root)
    if catalogue is None or not newest:
        return None
    items = pl.scan_parquet(root / CLEAN).select(ITEM, TIME).top_k(newest, by=TIME).collect()[ITEM]
    return 1 - float(items.is_in(catalogue.implode()).mean() or 0)


def _catalogue(root: Path) -> pl.Series | None:
    """The items of the champion, if there is one."""
    if not (root / POINTER).is_file():
        return None
    items = root / BUNDLES / read_json(root / POINTER)["bundle"] / VOCABULARY
    return read_parquet(items)[ITEM] if items.is_file() else None


def _report(root: Path) -> dict[str, Any] | None:
    path = root / DRIFT
    return read_json(path) if path.is_file() else None


if __name__ == "__main__":
    terminal.main(monitor)
