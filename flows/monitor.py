"""Does the world differ from what the champion knows? A daily look at drift and feedback, with a recorded verdict."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.states import Completed, Failed, State

from flows import terminal
from flows.ingest import FEEDBACK
from flows.project import exclusive
from flows.stages import run_stages
from recloop.columns import ITEM
from recloop.config import load_params, parse, section
from recloop.data.tables import read_json, read_parquet
from recloop.errors import RecloopError
from recloop.loop.clicks import click_rates
from recloop.loop.decision import (
    MONITOR,
    Inputs,
    MonitorConfig,
    Outcome,
    age_days,
    decide,
    drift_looks,
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
_LOOKED_AT = 100_000
"""Newest events whose items are looked up."""


@flow(name="monitor")
def monitor(*, retrain: bool = False) -> State:
    """Check drift, feedback and clicks, decide whether to retrain, record it; 'retrain' starts the flow retrain.

    The rules stand in params.yaml under monitor.

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
        now = time.time_ns() // 1_000
        champion = store.champion()
        found = Inputs(
            new_events=new_events,
            watermark=watermark_,
            drift=drift,
            drift_looks=drift_looks(store, drift),
            age_days=age_days(store, now),
            unknown_share=unknown,
            clicks=click_rates(store, champion.bundle, now=now) if champion else None,
            asked_by=asked_by,
        )
        outcome = decide(found, config, now=now, flight=last_flight(store, owner(root), now=now))
        record = outcome.record()
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
    """How many events the data do not hold, up to which `seq`, and their share on items that the champion lacks."""
    data = root / "data"
    feedback.require_origin(store, data)
    known, last = watermark(data, FEEDBACK), store.last_event_seq()
    catalogue = _catalogue(root)
    if catalogue is None or last <= known:
        return store.count_events(after=known), last, None
    newest = list(store.events_after(max(known, last - _LOOKED_AT)))
    items = pl.concat([frame[ITEM] for frame in newest])
    return store.count_events(after=known), last, 1 - float(items.is_in(catalogue.implode()).mean() or 0)


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
